"""Starts a child process, and stops it however the block that uses it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any, Final

STOP_TIMEOUT_S: Final = 15.0
MEMBERS_TIMEOUT_S: Final = 2.0
_PAUSE_S: Final = 0.01


@contextlib.contextmanager
def running(
    command: Sequence[str], *, leads_group: bool = False, **options: Any
) -> Iterator[subprocess.Popen[Any]]:
    """A context with a running child process.

    Args:
      command: the program and its arguments.
      leads_group: whether the child leads a process group of its own. The whole group is stopped at
        the end of the block, so that no process that the child has started outlives it; and Ctrl-C
        in a terminal interrupts the parent only.
      **options: further arguments of `subprocess.Popen`.

    Raises:
      OSError: the program cannot be started.
    """
    process = None
    try:
        with _interrupts_deferred():  # or a child might run that no variable refers to yet
            process = subprocess.Popen(command, process_group=0 if leads_group else None, **options)
        yield process
    finally:
        if process is not None:
            _stop(process, leads_group)


def _stop(process: subprocess.Popen[Any], leads_group: bool) -> None:
    """Sends SIGTERM, and SIGKILL after `STOP_TIMEOUT_S` or an interrupt.

    A group may have members after its leader has ended; they have `MEMBERS_TIMEOUT_S` then.
    """
    try:
        if not leads_group and process.poll() is not None:
            return
        _send(process, signal.SIGTERM, leads_group)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
        deadline_s = time.monotonic() + MEMBERS_TIMEOUT_S
        while leads_group and _send(process, 0, leads_group) and time.monotonic() < deadline_s:
            time.sleep(_PAUSE_S)
    finally:
        if leads_group or process.poll() is None:
            _send(process, signal.SIGKILL, leads_group)
        process.wait()


def _send(process: subprocess.Popen[Any], number: int, to_group: bool) -> bool:
    """Sends a signal to a process or to its group; False if there is none."""
    try:
        (os.killpg if to_group else os.kill)(process.pid, number)
    except ProcessLookupError:
        return False
    return True


@contextlib.contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Delivers SIGINT and SIGTERM at the end of the block if they arrive within it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python runs signal handlers in the main thread only
        return
    received: list[int] = []

    def defer(number: int, _: FrameType | None) -> None:
        received.append(number)

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # What is ignored stays ignored, and a default action needs no delay: it ends the parent.
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, defer)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if received:
            signal.raise_signal(received[0])
