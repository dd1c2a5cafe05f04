"""The HTTP server of the REST API, in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.errors import ServerStartError
from serving.server.connection_limits import ConnectionLimits

MAX_HEADER_TIMEOUT_S: Final = 10.0
"""The longest time that a client has to send the headers of a request."""

_WARNING_INTERVAL_S: Final = 10.0

_log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def running(
    application: Starlette,
    host: str,
    port: int,
    limits: ConnectionLimits,
    timeout_s: float,
    grace_s: float,
) -> AsyncIterator[None]:
    """A context with a running HTTP server.

    Args:
      application: answers the requests.
      host: the interface to listen on.
      port: the port to listen on.
      limits: the maximum numbers of connections.
      timeout_s: the time-out of a request; headers have at most MAX_HEADER_TIMEOUT_S.
      grace_s: the time that requests in flight have to finish at the exit.

    Raises:
      ServerStartError: the address is not available.
    """
    config = uvicorn.Config(
        application,
        host,
        port,
        # uvicorn only calls it, as it would call the class.
        http=functools.partial(  # type: ignore[arg-type]
            _BoundedProtocol,
            max_connections=limits.rest,
            header_timeout_s=min(timeout_s, MAX_HEADER_TIMEOUT_S),
        ),
        ws="none",
        log_config=None,
        access_log=False,
        lifespan="off",
        backlog=limits.rest_backlog,
        timeout_graceful_shutdown=int(grace_s),
    )
    server = uvicorn.Server(config)
    try:
        listening = config.bind_socket()
    except (OSError, SystemExit) as error:
        raise ServerStartError(
            f"cannot listen on {host}:{port}: another program uses it; choose another "
            "--rest_api_port."
        ) from error
    thread = threading.Thread(target=server.run, args=([listening],), name="rest", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.to_thread(thread.join, grace_s + 1)
        listening.close()


class _BoundedProtocol(H11Protocol):
    """HTTP/1.1 with a maximum number of connections, and a time-out for headers."""

    _last_warning_s = -_WARNING_INTERVAL_S

    def __init__(self, *args: Any, max_connections: int, header_timeout_s: float, **options: Any):
        super().__init__(*args, **options)
        self._max_connections = max_connections
        self._header_timeout_s = header_timeout_s
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # uvicorn sends headers and body separately. Without this option the body waits for the
        # client's acknowledgement of the headers, which takes 40 ms on Linux. asyncio sets it only
        # if the listening socket names its protocol, and uvicorn's does not.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) <= self._max_connections:
            self._start_timer()
            return
        transport.abort()
        now_s = time.monotonic()
        if now_s - self._last_warning_s >= _WARNING_INTERVAL_S:
            _BoundedProtocol._last_warning_s = now_s
            _log.warning("REST: closing new connections; %d are open", self._max_connections)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:  # the headers are complete
            self._stop_timer()
        elif self._timer is None:  # the next request of the same connection has begun
            self._start_timer()

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(self._header_timeout_s, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
