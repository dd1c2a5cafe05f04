"""Clients for the served model: images in, probabilities out, over gRPC.

Every call has a deadline. UNAVAILABLE is tried again within it, with growing pauses;
nothing else is. `Client` is for threads, `AsyncClient` for asyncio.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Self

import grpc
import numpy as np
from numpy.typing import NDArray
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving import calls
from serving.calls import Prediction, Readiness, Tls, Tries

__all__ = ["AsyncClient", "Client", "Prediction", "Tls"]


class Client:
    """Asks one model on one server. A context manager; safe to share between threads.

    Args:
      address: "host:port" of the gRPC service.
      model: the model's name.
      timeout_s: the deadline of each call, tries included.
      tls: how to connect where the server speaks TLS; None for plain text.

    Raises:
      ServingError: a file that `tls` names cannot be read.
    """

    def __init__(self, address: str, model: str, timeout_s: float = 10.0, tls: Tls | None = None):
        self.address = address
        self.model = model
        self.timeout_s = timeout_s
        if tls is None:
            self._channel = grpc.insecure_channel(address, calls.CHANNEL_OPTIONS)
        else:
            options = (*calls.CHANNEL_OPTIONS, *tls.options())
            self._channel = grpc.secure_channel(address, tls.credentials(), options)
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._model = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def predict(
        self,
        images: NDArray[np.generic],
        version: int | None = None,
        label: str | None = None,
    ) -> Prediction:
        """Asks for the probabilities of a batch.

        Args:
          images: [batch, 28, 28]; uint8 in 0..255, or floating point in [0, 1].
          version: the version to ask; the newest unless it or `label` is said.
          label: the label of the version to ask.

        Raises:
          InvalidRequestError: the images have another shape or type.
          ModelNotFoundError: the server has no such model or version.
          ServerUnavailableError: no answer within the deadline.
          ServingError: any other refusal.
        """
        request = calls.predict_request(self.model, images, version, label)
        tries = Tries(self.address, self.timeout_s)
        while True:
            try:
                response = self._prediction.Predict(request, timeout=tries.left_s)
            except grpc.RpcError as error:
                time.sleep(tries.pause_after(error))
            else:
                return Prediction.of(response, tries.elapsed_s)

    def wait_until_ready(
        self,
        version: int | None = None,
        timeout_s: float = 60.0,
        check: Callable[[], None] = lambda: None,
        fail_fast: bool = False,
    ) -> int:
        """Waits until the model answers; returns the newest version that does.

        Args:
          version: the version to wait for; any where it is None.
          timeout_s: how long to wait at most.
          check: called between two looks; it may raise to give up early.
          fail_fast: whether to wait no longer once a version could not be loaded, although
            a server tries again.

        Raises:
          ServerUnavailableError: it was not ready in time; says what the server reported.
        """
        waiting = Readiness(self.address, self.model, version, timeout_s, fail_fast)
        while True:
            check()
            try:
                response = self._model.GetModelStatus(
                    waiting.request, timeout=Readiness.CALL_TIMEOUT_S
                )
            except grpc.RpcError as error:
                waiting.not_answered(error)
            else:
                if (ready := waiting.ready(response)) is not None:
                    return ready
            time.sleep(calls.FIRST_PAUSE_S)

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient:
    """`Client` for asyncio: the same arguments, calls and errors; for one event loop."""

    def __init__(self, address: str, model: str, timeout_s: float = 10.0, tls: Tls | None = None):
        self.address = address
        self.model = model
        self.timeout_s = timeout_s
        self._tls = tls
        self._channel: Any = None

    async def predict(
        self,
        images: NDArray[np.generic],
        version: int | None = None,
        label: str | None = None,
    ) -> Prediction:
        """As `Client.predict`."""
        request = calls.predict_request(self.model, images, version, label)
        tries = Tries(self.address, self.timeout_s)
        stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        while True:
            try:
                response = await stub.Predict(request, timeout=tries.left_s)
            except grpc.aio.AioRpcError as error:
                await asyncio.sleep(tries.pause_after(error))
            else:
                return Prediction.of(response, tries.elapsed_s)

    async def wait_until_ready(
        self, version: int | None = None, timeout_s: float = 60.0, fail_fast: bool = False
    ) -> int:
        """As `Client.wait_until_ready`."""
        waiting = Readiness(self.address, self.model, version, timeout_s, fail_fast)
        stub = model_service_pb2_grpc.ModelServiceStub(self._channel)
        while True:
            try:
                response = await stub.GetModelStatus(
                    waiting.request, timeout=Readiness.CALL_TIMEOUT_S
                )
            except grpc.aio.AioRpcError as error:
                waiting.not_answered(error)
            else:
                if (ready := waiting.ready(response)) is not None:
                    return ready
            await asyncio.sleep(calls.FIRST_PAUSE_S)

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        # Here, as a channel belongs to the loop that is running when it is made.
        if self._tls is None:
            self._channel = grpc.aio.insecure_channel(self.address, calls.CHANNEL_OPTIONS)
        else:
            options = (*calls.CHANNEL_OPTIONS, *self._tls.options())
            credentials = self._tls.credentials()
            self._channel = grpc.aio.secure_channel(self.address, credentials, options)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
