"""The server's process.

SIGTERM and SIGINT let requests in flight finish, and end it with exit code 0. A mistake in a
file or an address that is taken is a sentence and exit code 1, one in the flags 2.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Sequence

from serving.server import flags as command_line

_log = logging.getLogger("serving.server")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    flags = command_line.parse(arguments)
    # What takes seconds to import, after the mistakes that need no import to be seen.
    import tensorflow as tf

    from serving.errors import ServerStartError
    from serving.server import lifecycle

    # What was imported stays: Python need not look at it each time that a version is let go.
    gc.collect()
    gc.freeze()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    tf.get_logger().setLevel(logging.ERROR)  # each load would be called deprecated

    async def serve() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with lifecycle.running(flags) as addresses:
            also = f", and on {addresses.rest} over HTTP" if addresses.rest else ""
            _log.info("listening on %s%s", addresses.grpc, also)
            await stop.wait()
            _log.info("stopping: no new requests, those in flight are finished")

    try:
        asyncio.run(serve())
    except ServerStartError as error:
        print(f"serving: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
