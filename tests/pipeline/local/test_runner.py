"""Names of runs; tests/integration tests the runs themselves."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipeline.local import runner
from pipeline.runs.workspace import Workspace


def test_a_run_is_named_after_the_time(tmp_path: Path) -> None:
    name = runner.new_run_id(Workspace(tmp_path / "new"))
    named = datetime.strptime(name, "%Y%m%d-%H%M%S-%f").replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - named) < timedelta(minutes=5)


def test_a_run_is_the_newest_although_the_clock_was_set_back(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for name in ("20990101-000000-000000", "my-notes"):
        workspace.run_folder(name)
    assert runner.new_run_id(workspace) == "20990101-000000-000001"
    workspace.run_folder("20990101-000000-000001")
    assert runner.new_run_id(workspace) == "20990101-000000-000002"
