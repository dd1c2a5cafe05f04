"""Starts and ends a Python program with large libraries without needless waiting."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
import traceback
from collections.abc import Callable
from typing import Final, NoReturn

_OBJECTS_BETWEEN_COLLECTIONS: Final = 100_000  # Python's default, 700, suits small programs


def run(main: Callable[[], int | None]) -> NoReturn:
    """Calls `main`, and ends the process with its exit code, or with 1 after an error.

    Importing TensorFlow and TFX makes millions of objects that stay; looking for garbage among
    them every 700 objects takes a quarter of the time of the import. At the end, Python, TensorFlow
    and Beam would release one by one what the system releases at once; that takes a second or two.
    """
    collect_less_often()
    try:
        code = main() or 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code)


def collect_less_often() -> None:
    """Makes Python look for garbage less often; see `run`."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 50, 100)
