"""Workspaces of every format that was released are read; one of a newer release is rejected."""

from pathlib import Path

import pytest
from doubles import workspaces

from pipeline.runs import lineage_tree, pruning, releases
from pipeline.runs.lineage_graph import ArtifactNode
from pipeline.runs.workspace import FORMAT, Workspace
from pipeline.settings.errors import PipelineError

RUN = "20261125-155014-756960"
VERSION = 1795621906


@pytest.fixture(params=range(1, FORMAT + 1))
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Workspace:
    return workspaces.of_format(tmp_path, request.param)


def test_it_is_read(workspace: Workspace) -> None:
    (record,) = workspace.records()
    assert (record.run_id, record.result, record.exit_code) == (RUN, "pushed", 0)
    assert record.outcome is not None
    assert record.outcome.pushed == str(workspace.serving("digits") / str(VERSION))
    assert round(record.outcome.accuracy, 4) == 0.9133
    (release,) = releases.releases(workspace, "digits")
    assert (release.version, release.state, release.run_id) == (VERSION, "served", RUN)
    assert round(release.accuracy or 0, 4) == 0.9133
    nodes = lineage_tree.find(workspace, "digits", str(VERSION)).nodes.values()
    types = {node.type for node in nodes if isinstance(node, ArtifactNode)}
    assert {"PushedModel", "Model", "Examples", "Schema"} <= types
    planned = pruning.plan(workspace, keep=1)
    assert (planned.runs, planned.artifacts) == ([], [])


def test_a_run_marks_the_workspace_with_the_format(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with workspace.exclusively():
        assert (tmp_path / "format").read_text() == f"{FORMAT}\n"
    assert workspace.records() == []


@pytest.mark.parametrize("content", [f"{FORMAT + 1}\n", "", "x\n"])
def test_a_workspace_of_a_newer_release_is_rejected(tmp_path: Path, content: str) -> None:
    (tmp_path / "format").write_text(content)
    workspace = Workspace(tmp_path)
    message = f"this release of mnist-tfx reads formats up to {FORMAT}"
    with pytest.raises(PipelineError, match=message):
        workspace.records()
    with pytest.raises(PipelineError, match=message):
        workspace.check_metadata()
    with pytest.raises(PipelineError, match=message), workspace.exclusively():
        pass
    assert (tmp_path / "format").read_text() == content
