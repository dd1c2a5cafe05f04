"""Starts and ends a Python program with large libraries without needless waiting."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Final, NoReturn

_THRESHOLDS: Final = (100_000, 50, 100)  # many more objects than Python's default: 700 in 3.11


def run(load: Callable[[], Callable[[], int | None]]) -> NoReturn:
    """Runs a program, and ends the process with its exit code, or with 1 after an error.

    Importing TensorFlow and TFX creates millions of objects that are never freed. The garbage
    collector would run thousands of times during the imports, which takes a quarter of their time;
    it is off until they are done, and never looks at what they created. A normal end of the
    process would free all objects one by one, which takes 1 to 2 s. This end skips exit handlers,
    and does not wait for threads.

    Args:
      load: imports the program, and returns its main function.
    """
    gc.disable()
    try:
        main = load()
        gc.freeze()
        gc.enable()
        code = main() or 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except KeyboardInterrupt:
        traceback.print_exc()
        code = 128 + signal.SIGINT
    except BaseException:
        traceback.print_exc()
        code = 1
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        # A stream is None if its file was closed; or nobody reads it any more.
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()
    os._exit(code)


def collect_less_often() -> None:
    """Makes the garbage collector run less often, for a program that imports as it goes."""
    gc.set_threshold(*_THRESHOLDS)
