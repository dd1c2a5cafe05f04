"""The processes of the machine, and its ports."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie; init may reap it later."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def free_ports(count: int) -> list[int]:
    """Different ports of the loopback that no program uses at this moment."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in held]
