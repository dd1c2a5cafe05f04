"""A client for the served model: images in, probabilities out, over gRPC.

Every call has a deadline. UNAVAILABLE is tried again within it, with growing pauses;
nothing else is.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self

import grpc
import numpy as np
from numpy.typing import NDArray
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from serving import codec
from serving.errors import (
    InvalidRequestError,
    ModelNotFoundError,
    ServerUnavailableError,
    ServingError,
)

_ERRORS: Final[dict[grpc.StatusCode, type[ServingError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.NOT_FOUND: ModelNotFoundError,
    grpc.StatusCode.UNAVAILABLE: ServerUnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: ServerUnavailableError,
}
_AVAILABLE: Final = get_model_status_pb2.ModelVersionStatus.AVAILABLE
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
_LAST_TRY_S: Final = 0.02  # with less time left, another try would only hide the cause


@dataclass(frozen=True)
class Prediction:
    """One answer: `probabilities` is float32 [batch, 10], each row sums to 1."""

    probabilities: NDArray[np.float32]
    version: int
    latency_s: float
    """From the call to its answer, tries included."""

    @property
    def digits(self) -> NDArray[np.int64]:
        """The most probable class of each image, int64 [batch]."""
        digits: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return digits


class Client:
    """Asks one model on one server. A context manager; safe to share between threads.

    Args:
      address: "host:port" of the gRPC service.
      model: the model's name.
      timeout_s: the deadline of each call, tries included.
    """

    def __init__(self, address: str, model: str, timeout_s: float = 10.0):
        self.address = address
        self.model = model
        self.timeout_s = timeout_s
        self._channel = grpc.insecure_channel(
            address,
            options=[
                ("grpc.max_receive_message_length", 64 * 2**20),
                # A server that is starting is looked for again soon.
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1000),
            ],
        )
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._model = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def predict(self, images: NDArray[np.generic]) -> Prediction:
        """Asks for the probabilities of a batch.

        Args:
          images: [batch, 28, 28]; uint8 in 0..255, or floating point in [0, 1].

        Raises:
          InvalidRequestError: the images have another shape or type.
          ModelNotFoundError: the server has no such model.
          ServerUnavailableError: no answer within the deadline.
          ServingError: any other refusal.
        """
        request = codec.predict_request(self.model, images)
        start_s = time.monotonic()
        response = self._call(self._prediction.Predict, request)
        latency_s = time.monotonic() - start_s
        version = response.model_spec.version.value
        return Prediction(codec.probabilities(response), version, latency_s)

    def wait_until_ready(
        self,
        version: int | None = None,
        timeout_s: float = 60.0,
        check: Callable[[], None] = lambda: None,
    ) -> int:
        """Waits until the model answers; returns the newest version that does.

        Args:
          version: the version to wait for; any where it is None.
          timeout_s: how long to wait at most.
          check: called between two looks; it may raise to give up early.

        Raises:
          ServerUnavailableError: it was not ready in time; says what the server reported.
        """
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = self.model
        deadline_s = time.monotonic() + timeout_s
        while True:
            check()
            try:
                response = self._model.GetModelStatus(request, timeout=1.0)
                statuses = response.model_version_status
                available = [status.version for status in statuses if status.state == _AVAILABLE]
                if available and version in (None, *available):
                    return int(max(available))
                failed = [status.status.error_message for status in statuses]
                said = "; ".join(filter(None, failed)) or "it is still loading"
            except grpc.RpcError as error:
                said = f"{error.code().name}: {error.details()}"
            if time.monotonic() > deadline_s:
                what = self.model if version is None else f"version {version} of {self.model}"
                raise ServerUnavailableError(
                    f"{what} was not ready at {self.address} within {timeout_s:g} s: {said}"
                )
            time.sleep(_FIRST_PAUSE_S)

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, method: grpc.UnaryUnaryMultiCallable, request: Any) -> Any:
        deadline_s = time.monotonic() + self.timeout_s
        pause_s = _FIRST_PAUSE_S
        while True:
            left_s = deadline_s - time.monotonic()
            try:
                return method(request, timeout=max(left_s, 0.001))
            except grpc.RpcError as error:
                left_s = deadline_s - time.monotonic()
                if error.code() != grpc.StatusCode.UNAVAILABLE or left_s < _LAST_TRY_S:
                    raise self._error(error) from error
            time.sleep(min(pause_s * random.uniform(0.5, 1.0), left_s / 2))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _error(self, error: grpc.RpcError) -> ServingError:
        kind = _ERRORS.get(error.code(), ServingError)
        if kind is ServerUnavailableError:
            return kind(
                f"no answer from the model server at {self.address} within {self.timeout_s:g} s "
                f"({error.code().name}: {error.details()})"
            )
        return kind(f"{error.code().name}: {error.details()}")
