"""Where something in a workspace came from: `mnist-tfx lineage`."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text
from rich.tree import Tree

from pipeline.errors import PipelineError
from pipeline.lineage import COMPARED, ArtifactNode, FileNode, Graph, Lineage, describe
from pipeline.workspace import Workspace


def find(workspace: Workspace, name: str, what: str) -> Graph:
    """The lineage of a pushed version, or of any artifact.

    Args:
      workspace: where the runs are.
      name: the model's name.
      what: a pushed version's number, an artifact's id, or a path in an artifact's folder.

    Raises:
      PipelineError: there is nothing of the kind.
    """
    if not workspace.metadata.exists():
        raise PipelineError(
            f"there is no run in {workspace.root}: start one with mnist-tfx run, or name another "
            "folder with --root."
        )
    lineage = Lineage.of_file(workspace.metadata)
    places = {str(workspace.serving(name) / what), str(Path(what).resolve())}
    for push in lineage.artifacts("PushedModel"):
        if push.custom_properties["pushed_destination"].string_value in places:
            return lineage.ancestry(push.id)
    try:
        if what.isdecimal():
            return lineage.ancestry(lineage.artifact(int(what)).id)
        return lineage.ancestry(lineage.artifact_at(str(Path(what).resolve())).id)
    except (KeyError, OverflowError):
        raise PipelineError(
            f"{what} is no version of {name} and no artifact in {workspace.root}: a version of "
            "`mnist-tfx models`, an artifact's id or its path is expected."
        ) from None


def tree(graph: Graph) -> Tree:
    """The graph as a tree: what several things were made from is shown in full once."""
    shown: set[str] = set()

    def grow(branch: Tree, key: str) -> None:
        for edge in graph.sources(key):
            is_again = edge.source in shown and bool(graph.sources(edge.source))
            shown.add(edge.source)
            line = Text("" if edge.name == "made" else f"{edge.name}: ").append(
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
