"""The last line of a task's log: how its node ended, for people and for `submit --wait`.

One place for both sides: the container writes the line, and whoever follows the run reads it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

_PREFIX: Final = "mnist-tfx: "


class Ending(StrEnum):
    """How a node failed."""

    REJECTED = "rejected"
    """A gate rejected."""

    FAILED = "failed"


class FailureLine(NamedTuple):
    """The last line of a node that did not complete."""

    node: str
    ending: Ending
    reason: str

    def __str__(self) -> str:
        return f"{_PREFIX}{self.node} {self.ending}: {self.reason}"


def parse(log: list[str]) -> FailureLine | None:
    """The failure that a log ends with; None if it does not end with one."""
    for line in reversed(log):
        _, prefix, text = line.partition(_PREFIX)
        if prefix:
            subject, colon, reason = text.partition(": ")
            node, _, ending = subject.partition(" ")
            if colon and ending in tuple(Ending):
                return FailureLine(node, Ending(ending), reason)
            return None
    return None


def completed(node: str, state: str) -> str:
    """The last line of a node that completed."""
    return f"{_PREFIX}{node} {state}"
