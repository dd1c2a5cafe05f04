"""The last line of a task's log: how its node ended, for people and for those who follow the run.

One place for both sides: the container writes the line, and whoever follows the run reads it.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, NamedTuple

_PREFIX: Final = "mnist-tfx: "
_FATAL: Final = re.compile(r"F\d{4} [\d:.]+ +\d+ \S+\] (?P<reason>.*)")
"""The last line of Kubeflow's launcher, which started the container's program, if it failed."""


class Ending(StrEnum):
    """How a node ended; the names of `NodeState`, and REJECTED."""

    DONE = "done"
    CACHED = "cached"
    RESOLVED = "resolved"
    REJECTED = "rejected"
    """A gate rejected."""

    FAILED = "failed"


class LastLine(NamedTuple):
    """The last line of a node."""

    node: str
    ending: Ending
    reason: str = ""
    """One sentence, if the node was rejected or failed."""

    @property
    def is_failure(self) -> bool:
        """Whether the node did not complete."""
        return self.ending in (Ending.REJECTED, Ending.FAILED)

    def __str__(self) -> str:
        return f"{_PREFIX}{self.node} {self.ending}" + (f": {self.reason}" if self.reason else "")


def parse(log: list[str]) -> LastLine | None:
    """The last line of a node in a log; None if there is none.

    If Kubeflow's launcher failed after the node completed, because it could not upload an artifact,
    for example, the node failed for that reason.
    """
    fatal = ""
    for line in reversed(log):
        _, prefix, text = line.partition(_PREFIX)
        if not prefix:
            if not fatal and (match := _FATAL.match(line)):
                fatal = match["reason"]
            continue
        subject, _, reason = text.partition(": ")
        node, _, ending = subject.partition(" ")
        if ending not in tuple(Ending):
            continue
        last = LastLine(node, Ending(ending), reason)
        if fatal and not last.is_failure:
            return LastLine(node, Ending.FAILED, f"Kubeflow's launcher failed: {fatal}")
        return last
    return None
