"""The server's process.

SIGTERM, SIGINT and SIGHUP stop the server after the requests in flight are done, with exit code 0.
A mistake in a file or an address in use is one sentence and exit code 1; a mistake in the flags is
exit code 2.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

from serving import program
from serving.server import flags as command_line
from serving.server import tensorflow_import

_log = logging.getLogger("serving.server")


def load() -> Callable[[], int]:
    """Imports the server, which takes seconds; mistakes in the flags are reported before."""
    flags = command_line.parse()
    tensorflow_import.without_keras()
    from serving.server import lifecycle  # noqa: F401

    return functools.partial(main, flags)


def main(flags: command_line.Flags) -> int:
    """Runs the server; returns the exit code."""
    import tensorflow as tf

    from serving.errors import ServerStartError
    from serving.server import lifecycle

    # Imported libraries may have configured logging.
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    tf.get_logger().setLevel(logging.ERROR)  # otherwise each load warns of a deprecated function

    async def serve() -> None:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, stop, task)
        if flags.stop_when_stdin_closes:
            threading.Thread(target=_stop_with_stdin, name="stdin", daemon=True).start()
        async with lifecycle.running(flags) as addresses:
            rest = f", REST on {addresses.rest}" if addresses.rest else ""
            _log.info("listening: gRPC on %s%s", addresses.grpc, rest)
            await asyncio.Event().wait()  # until the task is cancelled

    def stop(task: asyncio.Task[None]) -> None:
        if not task.cancelling():  # a second signal does not interrupt the end
            _log.info("stopping: finishing the requests in flight, accepting no new ones")
            task.cancel()

    try:
        asyncio.run(serve())
    except asyncio.CancelledError:
        return 0
    except ServerStartError as error:
        print(f"serving: {error}", file=sys.stderr)
        return 1
    return 0


def _stop_with_stdin() -> None:
    sys.stdin.buffer.read()  # until the other end is closed
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    program.run(load)
