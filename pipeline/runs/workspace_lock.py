"""The lock of a workspace: a file that the kernel locks as long as a process has it open."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_MOMENT_S: Final = 0.3  # `is_held` holds the lock for a moment; a run holds it for long


def is_held(path: Path) -> bool:
    """Whether a process holds the lock."""
    if not path.exists():
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def holding(path: Path) -> Iterator[int]:
    """A context that holds the lock.

    Returns:
      The file descriptor. A process that inherits it holds the lock, too.

    Raises:
      BlockingIOError: another process holds it.
      OSError: the file cannot be opened.
    """
    with path.open("w") as file:
        deadline_s = time.monotonic() + _MOMENT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(_MOMENT_S / 10)
            else:
                break
        yield file.fileno()
