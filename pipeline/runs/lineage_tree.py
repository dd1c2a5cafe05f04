"""Finds the lineage of a version or an artifact, and shows it as a tree: `mnist-tfx lineage`."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text
from rich.tree import Tree

from components.names.artifact_properties import PUSHED_DESTINATION
from pipeline.runs.lineage import Lineage
from pipeline.runs.lineage_graph import COMPARED, PRODUCED, ArtifactNode, FileNode, Graph, describe
from pipeline.runs.workspace import Workspace
from pipeline.settings.errors import PipelineError


def find(workspace: Workspace, name: str, what: str) -> Graph:
    """The lineage of a pushed version, or of any artifact.

    Args:
      workspace: the workspace of the runs.
      name: the model's name.
      what: the number of a pushed version, the id of an artifact, or a path within an artifact.

    Raises:
      PipelineError: neither exists.
    """
    lineage = Lineage.of_workspace(workspace)
    if lineage is None:
        raise PipelineError(
            f"{workspace.root} contains no run; start one with `mnist-tfx run`, or choose another "
            "folder with --root."
        )
    places = {str(workspace.serving(name) / what), str(Path(what).resolve())}
    for push in lineage.artifacts("PushedModel"):
        if push.custom_properties[PUSHED_DESTINATION].string_value in places:
            return lineage.ancestry(push.id)
    try:
        if what.isdecimal():
            return lineage.ancestry(lineage.artifact(int(what)).id)
        return lineage.ancestry(lineage.artifact_at(str(Path(what).resolve())).id)
    except (KeyError, OverflowError):
        raise PipelineError(
            f"{what} is neither a version of {name} nor an artifact in {workspace.root}; expected "
            "a version from `mnist-tfx models`, or the id or path of an artifact."
        ) from None


def tree(graph: Graph) -> Tree:
    """The graph as a tree; a node with several targets is shown in full once."""
    shown: set[str] = set()

    def grow(branch: Tree, key: str) -> None:
        for edge in graph.sources(key):
            is_again = edge.source in shown and bool(graph.sources(edge.source))
            shown.add(edge.source)
            line = Text("" if edge.name == PRODUCED else f"{edge.name}: ").append(
                _label(graph, edge.source)
            )
            if edge.name in COMPARED:
                line.append(" (compared with)", "dim")
            elif is_again:
                line.append(" (above)", "dim")
            child = branch.add(line)
            if not is_again and edge.name not in COMPARED:
                grow(child, edge.source)

    root = Tree(_label(graph, graph.root))
    grow(root, graph.root)
    return root


def _label(graph: Graph, key: str) -> Text:
    node = graph.nodes[key]
    if isinstance(node, ArtifactNode):
        return Text(describe(node), "bold").append(f" {node.uri}", "dim")
    return Text(describe(node), "green" if isinstance(node, FileNode) else "cyan")
