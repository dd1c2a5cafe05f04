"""The HTTP server: settings of its connections."""

import asyncio
import socket
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving import addresses
from serving.server.connection_limits import ConnectionLimits
from serving.server.rest import server


def test_no_answer_waits_for_an_acknowledgement(monkeypatch: pytest.MonkeyPatch) -> None:
    """TCP_NODELAY; without it an answer took 45 ms more than the model."""
    options: list[int] = []
    received = server._BoundedProtocol.data_received

    def record(self: Any, data: bytes) -> None:
        connection = self.transport.get_extra_info("socket")
        options.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        received(self, data)

    monkeypatch.setattr(server._BoundedProtocol, "data_received", record)

    async def answer(_: Request) -> Response:
        return Response("answer")

    async def ask() -> str:
        port = addresses.free_port()
        limits = ConnectionLimits(grpc=4, rest=4, rest_backlog=4)
        application = Starlette(routes=[Route("/", answer)])
        async with (
            server.running(application, "127.0.0.1", port, limits, timeout_s=60, grace_s=1),
            httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(retries=20)) as client,
        ):
            return (await client.get(f"http://127.0.0.1:{port}/", timeout=60)).text

    assert asyncio.run(ask()) == "answer"
    assert options == [1]
