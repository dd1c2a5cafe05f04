"""The client for threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Self

import grpc
import numpy as np
from numpy.typing import ArrayLike, NDArray

from serving.client import channel, predictions, protocol, retries
from serving.client.channel import Tls
from serving.client.predictions import Prediction
from serving.client.retries import Readiness, Tries
from trainer import features


class Client:
    """Asks one model on one server. A context manager; threads may share it.

    Args:
      address: "host:port" of the gRPC service.
      model: the model's name.
      timeout_s: the deadline of each call, including retries.
      tls: the TLS settings; None for plain text.

    Raises:
      ServingError: a file in `tls` cannot be read.
    """

    def __init__(self, address: str, model: str, timeout_s: float = 10.0, tls: Tls | None = None):
        self.address = address
        self.model = model
        self.timeout_s = timeout_s
        if tls is None:
            self._channel = grpc.insecure_channel(address, channel.OPTIONS)
        else:
            options = (*channel.OPTIONS, *tls.options())
            self._channel = grpc.secure_channel(address, tls.credentials(), options)
        self._methods = protocol.Methods(self._channel)

    def predict(
        self,
        images: ArrayLike,
        version: int | None = None,
        label: str | None = None,
    ) -> Prediction:
        """Asks for the probabilities of a batch.

        Args:
          images: [batch, 28, 28]; uint8 in 0..255, or floating point in [0, 1].
          version: the version to ask; the newest if neither `version` nor `label` is given.
          label: the label of the version to ask.

        Raises:
          InvalidRequestError: the images have another shape or type.
          ModelNotFoundError: the server has no such model or version.
          ServerUnavailableError: no answer within the deadline.
          ServingError: any other rejection.
        """
        request = predictions.predict_request(self.model, images, version, label)
        return Prediction.from_response(*self._send(request))

    def feature_maps(
        self, images: NDArray[np.uint8], version: int | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """Asks what each convolution and pooling makes of a batch.

        The arguments and errors are those of `predict`.

        Returns:
          By layer, such as "convolution_1" or "pooling_3": [batch, height, width, channels], the
          first channels of the layer.
        """
        request = predictions.predict_request(
            self.model, images, version, signature=features.FEATURE_MAPS
        )
        response, _ = self._send(request)
        return predictions.outputs(response)

    def _send(self, request: Any) -> tuple[Any, float]:
        """The response to a PredictRequest, and the latency in seconds, including retries."""
        tries = Tries(self.address, self.timeout_s)
        while True:
            try:
                response = self._methods.predict(request, timeout=tries.left_s)
            except grpc.RpcError as error:
                time.sleep(tries.pause_after(error))
            else:
                return response, tries.elapsed_s

    def wait_until_ready(
        self,
        version: int | None = None,
        timeout_s: float = 60.0,
        check: Callable[[], None] = lambda: None,
        fail_fast: bool = False,
    ) -> int:
        """Waits until the model is available; returns its newest available version.

        Args:
          version: the version to wait for; None for any.
          timeout_s: the maximum time to wait.
          check: called between two looks; it may raise to give up early.
          fail_fast: whether to stop waiting when the version, or every version if none is given,
            has failed to load, although a server retries.

        Raises:
          ServerUnavailableError: it was not ready in time; states what the server reported.
        """
        waiting = Readiness(self.address, self.model, version, timeout_s, fail_fast)
        while True:
            check()
            try:
                response = self._methods.get_model_status(
                    waiting.request, timeout=Readiness.CALL_TIMEOUT_S
                )
            except grpc.RpcError as error:
                waiting.not_answered(error)
            else:
                if (ready := waiting.ready(response)) is not None:
                    return ready
            time.sleep(retries.FIRST_PAUSE_S)

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
