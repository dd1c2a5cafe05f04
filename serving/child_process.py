"""Starts a child process, and stops it however the block that uses it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, Final

STOP_TIMEOUT_S: Final = 15.0


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
            _stop(process, os.killpg if leads_group else os.kill)


def _stop(process: subprocess.Popen[Any], send: Callable[[int, int], None]) -> None:
    """Sends SIGTERM, and SIGKILL after `STOP_TIMEOUT_S` or an interrupt."""
    try:
        if process.poll() is None:
            send(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT_S)
    finally:
        # A group may have members although its leader has ended.
        if process.poll() is None or send is os.killpg:
            with contextlib.suppress(ProcessLookupError):
                send(process.pid, signal.SIGKILL)
        process.wait()


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
