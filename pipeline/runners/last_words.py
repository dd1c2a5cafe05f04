"""The last line of a task's log: how its node ended, for people and for `submit --wait`.

One place for both sides: the container writes it, and whoever follows the run reads it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

_PREFIX: Final = "mnist-tfx: "


class Ending(StrEnum):
    """How a node ended badly."""

    REFUSED = "refused"
    """A gate said no."""

    FAILED = "failed"


class LastWords(NamedTuple):
    """Why a node did not complete."""

    node: str
    ending: Ending
    reason: str

    def __str__(self) -> str:
        return f"{_PREFIX}{self.node} {self.ending}: {self.reason}"


def parse(log: list[str]) -> LastWords | None:
    """What the lines of a log end with; None where nothing was said."""
    for line in reversed(log):
        _, prefix, text = line.partition(_PREFIX)
        if prefix:
            who, colon, reason = text.partition(": ")
            node, _, ending = who.partition(" ")
            if colon and ending in tuple(Ending):
                return LastWords(node, Ending(ending), reason)
            return None
    return None


def completed(node: str, state: str) -> str:
    """The line of a node that ended well."""
    return f"{_PREFIX}{node} {state}"
