"""How a process of a training ended early, in one sentence."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Final, NamedTuple

LOST: Final = "LostProcessError"
"""The prefix of the reason of a process that lost contact with another one."""

_OF_A_LOST_PROCESS: Final = (
    *("UnavailableError", "AbortedError", "CancelledError", "InternalError"),  # TensorFlow's
    *("DeadlineExceededError", "UnknownError"),
    LOST,
)


class WorkerError(RuntimeError):
    """A training process ended early or did not start."""


class Failure(NamedTuple):
    """Why a process ended early."""

    sentence: str
    is_cause: bool = True
    """False if this may only be a consequence of another process's failure."""


def process_name(index: int, count: int) -> str:
    """The name of a process in messages."""
    return f"training process {index + 1} of {count}"


def root_cause(found: Sequence[Failure]) -> Failure:
    """The first failure that is a cause; the first of all if none is."""
    return next((failure for failure in found if failure.is_cause), found[0])


def describe(name: str, code: int, error: str) -> Failure:
    """The failure of a process.

    Args:
      name: the process.
      code: its exit code; if a signal ended it, the negative number of the signal.
      error: the reason that it gave; empty if it gave none.
    """
    if code == -signal.SIGKILL:
        return Failure(
            f"{name} was killed (signal 9). The usual cause is too little memory; "
            'trainer.distribution = "none" needs less.'
        )
    if code < 0:
        # TensorFlow may abort a process that has lost another one.
        return Failure(f"{name} was ended by signal {-code}.", is_cause=code != -signal.SIGABRT)
    is_cause = bool(error) and not error.startswith(_OF_A_LOST_PROCESS)
    return Failure(f"{name} failed: {error or f'exit code {code}'}", is_cause)
