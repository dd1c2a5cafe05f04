"""The HTTP server of the REST API, in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette

from serving.errors import ServerStartError


@contextlib.asynccontextmanager
async def running(
    application: Starlette, host: str, port: int, grace_s: float
) -> AsyncIterator[None]:
    """A context with a running HTTP server.

    Args:
      application: answers the requests.
      host: the interface to listen on.
      port: the port to listen on.
      grace_s: the time that requests in flight have to finish at the exit.

    Raises:
      ServerStartError: the address is not available.
    """
    config = uvicorn.Config(
        application,
        host,
        port,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=int(grace_s),
    )
    server = uvicorn.Server(config)
    try:
        socket = config.bind_socket()
    except (OSError, SystemExit) as error:
        raise ServerStartError(
            f"cannot listen on {host}:{port}: another program uses it; choose another "
            "--rest_api_port."
        ) from error
    thread = threading.Thread(target=server.run, args=([socket],), name="rest", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.to_thread(thread.join, grace_s + 1)
        socket.close()
