"""The HTTP server of the REST API, in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import threading
import time
from typing import Any, Final

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.errors import ServerStartError
from serving.server.connection_limits import ConnectionLimits

_WARNING_INTERVAL_S: Final = 10.0

_log = logging.getLogger(__name__)


class RestServer:
    """A running HTTP server.

    Args:
      application: answers the requests.
      host: the interface to listen on.
      port: the port to listen on.
      limits: the maximum numbers of connections.
      timeout_s: the time-out of a request; its headers have at most `idle_s`.
      grace_s: the time that requests in flight have to finish when the server stops.
      idle_s: the longest time between two moments in which a client reads its answer.

    Raises:
      ServerStartError: the address is not available.
    """

    def __init__(
        self,
        application: Starlette,
        host: str,
        port: int,
        limits: ConnectionLimits,
        timeout_s: float,
        grace_s: float,
        idle_s: float = 10.0,
    ):
        config = uvicorn.Config(
            application,
            host,
            port,
            # uvicorn only calls it, as it would call the class.
            http=functools.partial(  # type: ignore[arg-type]
                _BoundedProtocol,
                max_connections=limits.rest,
                header_timeout_s=min(timeout_s, idle_s),
                idle_s=idle_s,
            ),
            ws="none",
            log_config=None,
            access_log=False,
            lifespan="off",
            backlog=limits.rest_backlog,
            timeout_graceful_shutdown=int(grace_s),
        )
        self._grace_s = grace_s
        self._server = uvicorn.Server(config)
        try:
            self._listening = config.bind_socket()
            self._listening.listen(limits.rest_backlog)  # clients need not wait for the thread
        except (OSError, SystemExit) as error:  # uvicorn exits, after an OSError
            reason = error if isinstance(error, OSError) else error.__context__
            raise ServerStartError(f"REST cannot listen on {host}:{port} ({reason}).") from error
        self._thread = threading.Thread(
            target=self._server.run, args=([self._listening],), name="rest", daemon=True
        )
        self._thread.start()

    async def stop(self) -> None:
        """Accepts no more requests; returns when those in flight are done."""
        self._server.should_exit = True
        await asyncio.to_thread(self._thread.join, self._grace_s + 1)
        self._listening.close()


class _BoundedProtocol(H11Protocol):
    """HTTP/1.1 with a maximum number of connections, and time-outs for clients that do nothing."""

    _last_warning_s = -_WARNING_INTERVAL_S

    def __init__(
        self,
        *args: Any,
        max_connections: int,
        header_timeout_s: float,
        idle_s: float,
        **options: Any,
    ):
        super().__init__(*args, **options)
        self._max_connections = max_connections
        self._header_timeout_s = header_timeout_s
        self._idle_s = idle_s
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        # uvicorn sends headers and body separately. Without this option the body waits for the
        # client's acknowledgement of the headers, which takes 40 ms on Linux. asyncio sets it only
        # if the listening socket names its protocol, and uvicorn's does not.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The kernel closes the connection if the client does not read its answer. uvicorn would
        # keep both for ever: even its own `close` waits until everything is sent.
        idle_ms = int(self._idle_s * 1000)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, idle_ms)
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
