"""What happened after the report was written: the push, and how long each component took.

RunReport runs before AtomicPusher, so that a rejected model has a report, too. A runner that knows
the end of a run completes a copy of the page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from components.report.page import render

_BEGIN: Final = "<!-- outcome: {} -->"
_END: Final = "<!-- end of outcome -->"
_BOX: Final = (134, 40)  # pixels of a node's box in the graph
_GAP: Final = (22, 10)


@dataclass(frozen=True)
class NodeRun:
    """One component in a run."""

    name: str
    state: str
    """Such as "done", "cached" or "rejected"."""

    seconds: float
    upstream: Sequence[str]
    """The components that it waits for."""


@dataclass(frozen=True)
class RunEnd:
    """The end of a run."""

    pushed: str | None
    """The version that is served now; None if the model was not pushed."""

    is_new: bool
    """False if the version was pushed before."""

    rejections: Sequence[str]
    """Why the model was not pushed."""

    server: str
    """The kind of the model server that ServerValidator asked; empty if none answered."""

    latency_p99_ms: float | None
    nodes: Sequence[NodeRun]
    facts: Mapping[str, str]
    """More facts, such as the commit and the hardware, by name."""


@dataclass(frozen=True)
class _Box:
    node: NodeRun
    x: int
    y: int


def complete(page: str, end: RunEnd) -> str:
    """The page of RunReport with the end of the run."""
    blocks = {
        name: render("outcome.html.j2", block=name, end=end, graph=_graph(end.nodes))
        for name in ("verdict", "summary", "end")
    }
    verdict = "rejected" if end.rejections else "pushed"
    page = re.sub(r"(<title>[^<]*: )\w+(, accuracy)", rf"\1{verdict}\2", page, count=1)
    for name, block in blocks.items():
        pattern = re.escape(_BEGIN.format(name)) + ".*?" + re.escape(_END)
        before, _, rest = re.split(f"({pattern})", page, maxsplit=1, flags=re.DOTALL)
        page = f"{before}{block}{rest}"
    return page


def _graph(nodes: Sequence[NodeRun]) -> dict[str, object]:
    """The boxes and lines of the graph; a node is to the right of all that it waits for."""
    levels: dict[str, int] = {}
    for node in nodes:  # in an order of execution
        known = [levels[name] for name in node.upstream if name in levels]
        levels[node.name] = 1 + max(known, default=-1)
    columns: dict[int, int] = {}
    boxes: dict[str, _Box] = {}
    for node in nodes:
        level = levels[node.name]
        place = columns.get(level, 0)
        columns[level] = place + 1
        x, y = level * (_BOX[0] + _GAP[0]), place * (_BOX[1] + _GAP[1])
        boxes[node.name] = _Box(node, x, y)
    lines = [
        (boxes[name].x + _BOX[0], boxes[name].y + _BOX[1] // 2, box.x, box.y + _BOX[1] // 2)
        for box in boxes.values()
        for name in _direct(box.node, {node.name: node for node in nodes})
    ]
    return {
        "boxes": list(boxes.values()),
        "lines": lines,
        "width": (max(columns, default=0) + 1) * (_BOX[0] + _GAP[0]) - _GAP[0],
        "height": max(columns.values(), default=1) * (_BOX[1] + _GAP[1]) - _GAP[1],
        "box": _BOX,
    }


def _direct(node: NodeRun, nodes: Mapping[str, NodeRun]) -> list[str]:
    """What a node waits for, without what another of these waits for, too."""
    known = [name for name in node.upstream if name in nodes]
    indirect = {far for name in known for far in _ancestors(nodes[name], nodes)}
    return [name for name in known if name not in indirect]


def _ancestors(node: NodeRun, nodes: Mapping[str, NodeRun]) -> set[str]:
    near = {name for name in node.upstream if name in nodes}
    return near.union(*(_ancestors(nodes[name], nodes) for name in near))
