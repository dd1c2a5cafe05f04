"""The client for asyncio."""

from __future__ import annotations

import asyncio
from typing import Any, Self

import grpc
import numpy as np
from numpy.typing import ArrayLike, NDArray

from serving.client import channel, predictions, protocol, retries
from serving.client.channel import Tls
from serving.client.predictions import Prediction
from serving.client.retries import Readiness, Tries
from trainer import features


class AsyncClient:
    """`Client` for one event loop of asyncio: the same calls and errors."""

    def __init__(self, address: str, model: str, timeout_s: float = 10.0, tls: Tls | None = None):
        self.address = address
        self.model = model
        self.timeout_s = timeout_s
        self._tls = tls
        self._channel: Any = None

    async def predict(
        self,
        images: ArrayLike,
        version: int | None = None,
        label: str | None = None,
    ) -> Prediction:
        """As `Client.predict`."""
        request = predictions.predict_request(self.model, images, version, label)
        return Prediction.from_response(*await self._send(request))

    async def feature_maps(
        self, images: NDArray[np.uint8], version: int | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """As `Client.feature_maps`."""
        request = predictions.predict_request(
            self.model, images, version, signature=features.FEATURE_MAPS
        )
        response, _ = await self._send(request)
        return predictions.outputs(response)

    async def _send(self, request: Any) -> tuple[Any, float]:
        """As `Client._send`."""
        tries = Tries(self.address, self.timeout_s)
        methods = protocol.Methods(self._channel)
        while True:
            try:
                response = await methods.predict(request, timeout=tries.left_s)
            except grpc.aio.AioRpcError as error:
                await asyncio.sleep(tries.pause_after(error))
            else:
                return response, tries.elapsed_s

    async def wait_until_ready(
        self, version: int | None = None, timeout_s: float = 60.0, fail_fast: bool = False
    ) -> int:
        """As `Client.wait_until_ready`."""
        waiting = Readiness(self.address, self.model, version, timeout_s, fail_fast)
        methods = protocol.Methods(self._channel)
        while True:
            try:
                response = await methods.get_model_status(
                    waiting.request, timeout=Readiness.CALL_TIMEOUT_S
                )
            except grpc.aio.AioRpcError as error:
                waiting.not_answered(error)
            else:
                if (ready := waiting.ready(response)) is not None:
                    return ready
            await asyncio.sleep(retries.FIRST_PAUSE_S)

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        # Not in the constructor: a channel belongs to the loop that runs when it is created.
        if self._tls is None:
            self._channel = grpc.aio.insecure_channel(self.address, channel.OPTIONS)
        else:
            options = (*channel.OPTIONS, *self._tls.options())
            credentials = self._tls.credentials()
            self._channel = grpc.aio.secure_channel(self.address, credentials, options)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
