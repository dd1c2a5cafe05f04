"""The list of versions, and the roll-back; test_local_run.py tests their lineage."""

from concurrent import futures
from pathlib import Path

import pytest

from pipeline.runs import releases
from pipeline.runs.workspace import Workspace
from pipeline.settings.errors import PipelineError
from serving import version_folders


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    for version in (11, 12, 13):
        folder = tmp_path / "serving_model" / "mnist" / str(version)
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_text(f"model {version}")
    return Workspace(tmp_path)


def _states(workspace: Workspace) -> dict[int, str]:
    return {found.version: found.state for found in releases.releases(workspace, "mnist")}


def test_without_metadata_the_versions_come_from_the_folder(workspace: Workspace) -> None:
    assert _states(workspace) == {13: "served", 12: "kept", 11: "kept"}
    assert releases.releases(workspace, "other") == []
    assert not workspace.metadata.exists(), "looking makes no store"


def test_rolls_back_and_forward(workspace: Workspace) -> None:
    assert releases.roll_back(workspace, "mnist", None) == (13, 12)
    assert _states(workspace) == {13: "withdrawn", 12: "served", 11: "kept"}
    assert releases.roll_back(workspace, "mnist", None) == (12, 11)
    assert releases.roll_back(workspace, "mnist", 13) == (11, 13)
    assert _states(workspace) == {13: "served", 12: "withdrawn", 11: "kept"}
    assert releases.roll_back(workspace, "mnist", 13) == (13, 13)


def test_an_impossible_roll_back_is_rejected(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="contains no version 5; the versions are 11, 12, 13"):
        releases.roll_back(workspace, "mnist", 5)
    releases.roll_back(workspace, "mnist", 11)
    with pytest.raises(PipelineError, match="contains no other model before version 11"):
        releases.roll_back(workspace, "mnist", None)
    with pytest.raises(PipelineError, match="contains no served version"):
        releases.roll_back(workspace, "other", None)


def test_a_roll_back_is_possible_while_a_run_goes_on(workspace: Workspace) -> None:
    with workspace.exclusively():
        assert releases.roll_back(workspace, "mnist", None) == (13, 12)
    assert _states(workspace)[12] == "served"


def test_a_roll_back_waits_for_a_push(workspace: Workspace) -> None:
    """A push looks for the newest version, and removes old ones."""
    folder = workspace.serving("mnist")
    with futures.ThreadPoolExecutor() as pool, version_folders.exclusively(folder):
        waiting = pool.submit(releases.roll_back, workspace, "mnist", None)
        with pytest.raises(futures.TimeoutError):
            waiting.result(timeout=0.3)
        (folder / "13").rename(folder / "14")
    assert waiting.result() == (14, 12)


def test_a_roll_back_passes_over_a_version_of_the_same_model(workspace: Workspace) -> None:
    (workspace.serving("mnist") / "12" / "saved_model.pb").write_text("model 13")
    assert releases.roll_back(workspace, "mnist", None) == (13, 11)
    assert _states(workspace) == {13: "withdrawn", 12: "withdrawn", 11: "served"}


def test_damaged_metadata_is_reported_before_a_roll_back(workspace: Workspace) -> None:
    workspace.metadata.write_bytes(b"garbage")
    with pytest.raises(PipelineError, match="metadata.sqlite is damaged .*doctor --repair"):
        releases.roll_back(workspace, "mnist", None)
    assert (workspace.serving("mnist") / "13").exists()
