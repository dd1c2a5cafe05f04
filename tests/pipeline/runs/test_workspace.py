"""The workspace: one run at a time, and the record of each."""

import sqlite3
import subprocess
from pathlib import Path

import pytest

from components.names.node_ids import NodeId
from pipeline.runs.events import NodeChanged, Outcome
from pipeline.runs.run_record import RunRecord
from pipeline.runs.workspace import Workspace
from pipeline.settings.errors import ExitCode, PipelineError, WorkspaceBusyError


def _record(run_id: str, *states: str, exit_code: int | None = 0) -> RunRecord:
    """The record of a run whose nodes had these states; the last one is AtomicPusher."""
    names = (f"Node{index}" for index in range(len(states) - 1))
    nodes = tuple(
        NodeChanged(node=name, state=state)  # type: ignore[arg-type]
        for name, state in zip((*names, NodeId.ATOMIC_PUSHER), states, strict=True)
    )
    return RunRecord(
        run_id=run_id,
        pipeline="mnist",
        seconds=1.5,
        exit_code=exit_code,
        message="",
        nodes=nodes,
        outcome=None,
    )


def test_a_second_run_at_the_same_time_is_rejected(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace")
    with (
        workspace.exclusively(),
        pytest.raises(WorkspaceBusyError, match="another run is using .*workspace"),
        workspace.exclusively(),
    ):
        pass
    with workspace.exclusively():
        pass


def test_a_lock_is_held_by_each_process_that_inherits_it(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert not workspace.is_in_use
    with workspace.exclusively() as lock_fd:
        command = ["sh", "-c", "echo ready; read line"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen(command, pass_fds=[lock_fd], **pipes)  # type: ignore[call-overload]
        process.stdout.readline()
    assert workspace.is_in_use
    with pytest.raises(WorkspaceBusyError):
        workspace.check_usable()
    process.communicate(b"end\n", timeout=60)
    workspace.check_usable()


def test_a_damaged_record_is_listed_as_failed(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.save(_record("1", "done"))
    path = tmp_path / "runs" / "1" / "run.json"
    path.write_bytes(path.read_bytes()[:40])
    (record,) = workspace.records()
    assert (record.run_id, record.result) == ("1", "failed")
    assert record.message == f"{path} is damaged; the log beside it shows what happened"


def test_the_options_name_a_workspace_that_is_not_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    default = Workspace(tmp_path / "workspace")
    assert (default.options(), default.options("mnist")) == ("", "")
    assert default.options("fashion") == " --name fashion"
    other = Workspace(tmp_path / "a folder")
    assert other.options("x") == f" --root '{tmp_path}/a folder' --name x"


def test_records_are_kept_oldest_first(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    records = [_record("20260102-000000", "done"), _record("20260101-000000", "cached")]
    for record in records:
        workspace.save(record)
    assert workspace.records() == records[::-1]


def test_an_older_record_is_read(tmp_path: Path) -> None:
    """Rejections had another name."""
    workspace = Workspace(tmp_path)
    gate = NodeChanged(node="AnomalyGate", state="failed", rejections=("label 12",))
    record = _record("1", "failed", exit_code=3).model_copy(update={"nodes": (gate,)})
    workspace.save(record)
    path = tmp_path / "runs" / "1" / "run.json"
    path.write_text(path.read_text().replace("rejections", "refusals"))
    assert workspace.records() == [record]


@pytest.mark.parametrize(
    ("states", "exit_code", "result"),
    [
        (("resolved", "cached"), ExitCode.OK, "cached"),
        (("done", "cached"), ExitCode.OK, "cached"),
        (("cached", "done"), ExitCode.OK, "pushed"),
        (("cached", "done"), ExitCode.REJECTED, "rejected"),
        (("done", "failed"), ExitCode.FAILED, "failed"),
        (("done", "running"), ExitCode.INTERRUPTED, "interrupted"),
        (("done", "running"), None, "interrupted"),
    ],
)
def test_the_result_is_summarized(
    states: tuple[str, ...], exit_code: int | None, result: str
) -> None:
    assert _record("x", *states, exit_code=exit_code).result == result


def test_versions_are_numbers_in_order(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert workspace.served_versions("mnist") == []
    for name in ("10", "9", ".staging-1", "x"):
        (workspace.serving("mnist") / name).mkdir(parents=True)
    assert workspace.served_versions("mnist") == [9, 10]


def test_the_worst_digit_is_the_one_with_the_lowest_accuracy() -> None:
    outcome = Outcome(
        test_images=10,
        accuracy=0.9,
        loss=0.1,
        digit_accuracy={"0": 0.95, "1": 0.85, "2": 0.9},
        rejections=(),
        pushed=None,
        artifacts="",
        tensorboard="",
    )
    assert outcome.worst_digit == "1"


def test_a_root_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PipelineError, match=r"cannot create .*file/runs/1 \(Not a directory\)"):
        Workspace(tmp_path / "file").run_folder("1")


def test_a_path_that_sqlite_cannot_open_is_rejected(tmp_path: Path) -> None:
    longest = tmp_path / ("ä" * 100) / ("x" * 100)
    longest /= "y" * (479 - len(bytes(longest)))
    with Workspace(longest).exclusively():
        sqlite3.connect(Workspace(longest).metadata).execute("CREATE TABLE t (c)").close()
    too_long = Workspace(Path(f"{longest}y"))
    for use in (too_long.check_usable, too_long.exclusively().__enter__):
        with pytest.raises(PipelineError, match="has 481 bytes, and at most 480 are supported"):
            use()
    assert not too_long.root.exists()


def test_damaged_metadata_is_one_sentence(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "a #?% folder")
    workspace.check_metadata()
    with workspace.exclusively():
        workspace.metadata.touch()
        workspace.check_metadata()
        workspace.metadata.write_bytes(b"no database" * 100)
    with pytest.raises(PipelineError, match=r"is damaged \(file is not a database\); the pushed "):
        workspace.check_metadata()


def test_the_temporary_folder_is_empty_and_is_removed(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    (tmp_path / "tmp" / "of a killed run").mkdir(parents=True)
    with workspace.temporary_folder() as folder:
        assert list(folder.iterdir()) == []
        (folder / "file").touch()
    assert not folder.exists()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    root = tmp_path / "file" / "root"
    message = rf"cannot write to {root} \(Not a directory\); choose another folder with --root"
    with pytest.raises(PipelineError, match=message), Workspace(root).exclusively():
        pass
