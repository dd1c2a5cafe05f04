"""Keeps the output of native code off the screen.

TensorFlow prints several lines when it is imported, before it reads any setting of the log level.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """A context that discards what is written to standard error; exceptions are not affected."""
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
