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
from serving.server.rest.server import RestServer


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
        rest = RestServer(application, "127.0.0.1", port, limits, timeout_s=60, grace_s=1)
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"http://127.0.0.1:{port}/", timeout=60)).text
        await rest.stop()
        return text

    assert asyncio.run(ask()) == "answer"
    assert options == [1]


@pytest.mark.parametrize("headers", ["", "Connection: close\r\n"])
def test_a_client_that_does_not_read_its_answer_is_disconnected(headers: str) -> None:
    """The answer of 32 MiB is larger than the buffers of both sockets."""

    async def answer(_: Request) -> Response:
        return Response(bytes(32 * 2**20))

    async def ask() -> None:
        port = addresses.free_port()
        limits = ConnectionLimits(grpc=4, rest=4, rest_backlog=4)
        application = Starlette(routes=[Route("/", answer)])
        rest = RestServer(application, "127.0.0.1", port, limits, 60, grace_s=1, idle_s=5)
        connections = rest._server.server_state.connections
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", port))
            client.sendall(f"GET / HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
            client.settimeout(60)
            assert client.recv(100).startswith(b"HTTP/1.1 200")
            assert connections
            async with asyncio.timeout(60):
                while connections:
                    await asyncio.sleep(0.01)
        await rest.stop()

    asyncio.run(ask())
