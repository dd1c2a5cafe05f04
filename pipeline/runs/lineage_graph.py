"""The graph of an artifact's lineage: its nodes and edges, as JSON and in Graphviz' language."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

PRODUCED, READ = "produced", "read"  # the names of edges that are not inputs
# Inputs that are only compared with: their own lineage is not followed.
COMPARED: Final = frozenset({"baseline_model", "baseline_statistics", "reference"})


class _Node(BaseModel):
    model_config = ConfigDict(frozen=True)


class ArtifactNode(_Node):
    """An artifact."""

    kind: Literal["artifact"] = "artifact"
    id: int
    type: str
    uri: str
    properties: dict[str, Any]


class ExecutionNode(_Node):
    """An execution of a component."""

    kind: Literal["execution"] = "execution"
    id: int
    component: str
    run_id: str
    ended_at_ms: int
    """Milliseconds since 1970, UTC."""


class FileNode(_Node):
    """An ingested data file."""

    kind: Literal["file"] = "file"
    id: str
    """Its path at the time of ingestion."""

    sha256: str


class Edge(_Node):
    """`source` is an input of `target`, or produced it: "artifact:3", "execution:2", "file:X"."""

    source: str
    target: str
    name: str
    """The key of the input; PRODUCED or READ for other edges."""


@dataclass
class Graph:
    """An artifact and everything that it was produced from."""

    root: str
    nodes: dict[str, ArtifactNode | ExecutionNode | FileNode] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)

    def sources(self, node: str) -> list[Edge]:
        """The edges that end in a node."""
        return [edge for edge in self.edges if edge.target == node]

    def to_json(self) -> dict[str, Any]:
        """The graph, for `json.dumps`."""
        return {
            "root": self.root,
            "nodes": [{"key": key, **node.model_dump()} for key, node in self.nodes.items()],
            "edges": [edge.model_dump() for edge in self.edges],
        }

    def to_dot(self) -> str:
        """The graph in Graphviz' language, from the data files at the top to the root."""
        shapes = {"artifact": "box", "execution": "ellipse", "file": "note"}
        lines = ["digraph lineage {", '  node [fontname="sans-serif"];']
        for key, node in self.nodes.items():
            label = json.dumps(describe(node))  # a JSON string is a DOT string as well
            lines.append(f"  {json.dumps(key)} [shape={shapes[node.kind]}, label={label}];")
        for edge in self.edges:
            ends = f"{json.dumps(edge.source)} -> {json.dumps(edge.target)}"
            dashed = ", style=dashed" if edge.name in COMPARED else ""
            lines.append(f"  {ends} [label={json.dumps(edge.name)}{dashed}];")
        return "\n".join([*lines, "}"])


def describe(node: ArtifactNode | ExecutionNode | FileNode) -> str:
    """A short description of a node."""
    if isinstance(node, FileNode):
        return f"{node.id} (sha256 {node.sha256[:12]})"
    if isinstance(node, ExecutionNode):
        return f"{node.component} (execution {node.id}, run {node.run_id or 'unknown'})"
    return f"{node.type} {node.id}"
