"""What `prune` refuses, and what `doctor` says of it; test_damage.py prunes a real workspace."""

import shutil
import sqlite3
from pathlib import Path

import pytest
from doubles import workspaces
from ml_metadata.proto import metadata_store_pb2

from pipeline.runs import doctor, pruning
from pipeline.runs.lineage import open_store
from pipeline.runs.workspace import Workspace
from pipeline.settings.errors import PipelineError


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return workspaces.of_format(tmp_path, 1)


def _problems(workspace: Workspace) -> list[str]:
    return [finding.problem for finding in doctor.Examination(workspace).findings()]


def test_a_moved_workspace_is_not_pruned(workspace: Workspace, tmp_path: Path) -> None:
    copy = Workspace(shutil.copytree(workspace.root, tmp_path / "copy"))
    kept = copy.artifacts / "Trainer" / "model" / "13"
    kept.mkdir(parents=True)
    message = f"{copy.root} was moved or copied: its metadata names artifacts such as "
    with pytest.raises(PipelineError, match=message):
        pruning.plan(copy, 1)
    assert [problem.startswith(message) for problem in _problems(copy)] == [True]
    assert kept.exists()


def test_another_database_is_damaged_metadata(workspace: Workspace) -> None:
    workspace.metadata.unlink()
    connection = sqlite3.connect(workspace.metadata)
    connection.execute("CREATE TABLE a (b)")
    connection.close()
    with pytest.raises(PipelineError, match="is damaged .it has no table Artifact.;"):
        pruning.plan(workspace, 1)
    (problem,) = _problems(workspace)
    assert "it has no table Artifact" in problem


def test_an_empty_file_is_no_metadata_yet(workspace: Workspace) -> None:
    workspace.metadata.write_bytes(b"")
    planned = pruning.plan(workspace, 1)
    assert (planned.folders, planned.artifacts) == ([], [])
    assert _problems(workspace) == []


def test_missing_metadata_with_artifacts_is_damage(workspace: Workspace) -> None:
    (workspace.artifacts / "Trainer" / "model" / "13").mkdir(parents=True)
    workspace.metadata.unlink()
    with pytest.raises(PipelineError, match="it is missing or empty, and there are artifacts"):
        pruning.plan(workspace, 1)
    (finding,) = doctor.Examination(workspace).findings()
    assert finding.repair is not None
    finding.repair()
    assert not workspace.artifacts.exists()
    assert _problems(workspace) == []


def test_the_run_of_a_pushed_version_is_kept_if_its_record_is_damaged(workspace: Workspace) -> None:
    (record,) = workspace.root.glob("runs/*/run.json")
    newer = shutil.copytree(record.parent, workspace.root / "runs" / "29990101-000000-000000")
    changed = record.read_text().replace(record.parent.name, newer.name).replace("pushed", "x")
    (newer / "run.json").write_text(changed)
    record.write_text("{")
    planned = pruning.plan(workspace, 1)
    assert (planned.runs, planned.artifacts) == ([], [])
    assert (planned.kept, planned.pushed) == (2, 1)


def test_an_output_of_several_artifacts_is_removed_as_one_folder(workspace: Workspace) -> None:
    """As Transform's examples of several spans, in workspaces of earlier releases."""
    folder = workspace.artifacts / "Transform" / "transformed_examples" / "99"
    store = open_store(workspace, is_read_only=False)
    kind = store.get_artifact_type("Examples").id
    for number in (0, 1):
        (folder / str(number)).mkdir(parents=True)
        uri = str(folder / str(number))
        store.put_artifacts([metadata_store_pb2.Artifact(type_id=kind, uri=uri)])
    planned = pruning.plan(workspace, 1)
    assert planned.folders == [folder]
    assert len(planned.artifacts) == 2
