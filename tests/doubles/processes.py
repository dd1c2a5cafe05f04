"""The processes of the machine."""

from __future__ import annotations

import contextlib
from pathlib import Path


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie; init may reap it later."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
