"""Keeps what native code prints away from the screen.

TensorFlow greets at length when it is imported, before any of its settings for the log
level is read; a client imports it because the protocol's stubs do.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Drops what is written to standard error in here; what Python raises is not affected."""
    sys.stderr.flush()
    standard_error = 2
    kept = os.dup(standard_error)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), standard_error)
    try:
        yield
    finally:
        os.dup2(kept, standard_error)
        os.close(kept)
