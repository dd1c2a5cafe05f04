"""How many connections the server accepts: each is an open file, and files have a limit.

Without these limits, a server that has no files left cannot accept connections nor load models;
Python then spins, and writes a traceback for each attempt.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from serving.errors import ServerStartError

_LARGEST_BACKLOG: Final = 2048  # connections; asyncio accepts so many before it handles one
_FEWEST_FILES: Final = 32


@dataclass(frozen=True)
class ConnectionLimits:
    """The maximum numbers of connections; above them, new connections are closed."""

    grpc: int
    rest: int
    rest_backlog: int
    """Connections that wait for acceptance."""


def from_open_files() -> ConnectionLimits:
    """Raises the limit of open files as far as possible, and divides the files.

    Half of them are for gRPC, a quarter for REST; the rest is for connections that are about to be
    closed, and for models.

    Raises:
      ServerStartError: the limit of open files is too low.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    free = hard - len(list(Path("/dev/fd").iterdir()))
    if free < _FEWEST_FILES:
        raise ServerStartError(
            f"the limit of open files is {hard}, of which {free} are free; expected at least "
            f"{_FEWEST_FILES}. Raise it with ulimit -n."
        )
    return ConnectionLimits(free // 2, free // 4, min(free // 8, _LARGEST_BACKLOG))
