"""What a killed run left is removed; what finished runs made stays."""

from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2

from pipeline.runs import recovery
from pipeline.runs.lineage import open_store
from pipeline.runs.workspace import Workspace

State = metadata_store_pb2.Execution.State


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def test_executions_that_never_ended_are_marked_and_removed(workspace: Workspace) -> None:
    workspace.root.mkdir()
    store = open_store(workspace, is_read_only=False)
    states = (State.COMPLETE, State.RUNNING, State.CACHED, State.NEW, State.FAILED)
    kind = store.put_execution_type(metadata_store_pb2.ExecutionType(name="Trainer"))
    ids = store.put_executions(
        [metadata_store_pb2.Execution(type_id=kind, last_known_state=state) for state in states]
    )
    trainer, serving = workspace.artifacts / "Trainer", workspace.serving("mnist")
    folders = [trainer / "model" / str(number) for number in ids]
    folders += [trainer / ".system" / "executor_execution" / str(number) for number in ids]
    left = [trainer / ".system" / "stateful_working_dir" / "1", serving / ".staging-1"]
    for folder in (*folders, *left, serving / "7"):
        (folder / "variables").mkdir(parents=True)
    recovery.recover(store, workspace)
    ended = [execution.last_known_state for execution in store.get_executions()]
    assert recovery.never_ended(store) == []
    assert ended == [State.COMPLETE, State.FAILED, State.CACHED, State.FAILED, State.FAILED]
    is_kept = [True, False, True, False, True]
    assert [folder.exists() for folder in folders] == is_kept * 2
    assert not any(folder.exists() for folder in left)
    assert workspace.served_versions("mnist") == [7]
