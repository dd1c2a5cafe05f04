"""How a process of a training ended, in one sentence."""

from __future__ import annotations

import signal


class WorkerError(RuntimeError):
    """A process that trained ended early, or could not start."""


def name(index: int, count: int) -> str:
    """The name of a process in messages."""
    return f"process {index + 1} of {count} of the training"


def describe(name: str, code: int, error: str) -> str:
    """The sentence.

    Args:
      name: the process.
      code: its exit code; if a signal ended it, the negative number of the signal.
      error: the reason that it gave; empty if it gave none.
    """
    if code == -signal.SIGKILL:
        return (
            f"{name} was killed (signal 9). The usual cause is too little memory; "
            'trainer.distribution = "none" needs less.'
        )
    if code < 0:
        return f"{name} was ended by signal {-code}."
    return f"{name} failed: {error or f'exit code {code}'}"
