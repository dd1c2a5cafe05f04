"""The progress of a run that goes on, as the page gets it."""

from pathlib import Path

import pytest

from pipeline.demo import overview
from pipeline.local import runner
from pipeline.runs import events
from pipeline.runs.run_record import RunRecord
from pipeline.runs.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    workspace.save(RunRecord(run_id="20261126-000000-000000", pipeline="digits"))
    return workspace


def _write(workspace: Workspace, *found: events.Event, rest: str = "") -> None:
    path = workspace.run_folder("20261126-000000-000000") / runner.EVENTS
    path.write_text("".join(f"{events.to_json(event)}\n" for event in found) + rest)


def test_a_run_that_has_just_started_has_no_components(workspace: Workspace) -> None:
    assert overview.progress(workspace) is None, "it was killed"
    with workspace.exclusively():
        assert overview.progress(workspace) == {"run_id": "20261126-000000-000000", "nodes": []}


def test_components_have_their_state_and_their_share(workspace: Workspace) -> None:
    progress = dict(epoch=1, epochs=1, loss=0.5, accuracy=0.9, images_per_s=100.0)
    _write(
        workspace,
        events.Planned(run_id="r", nodes=("Gen", "Trainer", "Evaluator", "Pusher")),
        events.NodeChanged(node="Gen", state="cached", seconds=0.5),
        events.NodeChanged(node="Trainer", state="running"),
        events.Training(step=25, steps=100, **progress),  # type: ignore[arg-type]
        events.NodeChanged(node="Evaluator", state="running"),
        events.Progress(node="Evaluator", done=0, total=200, unit="images"),
        events.Progress(node="Evaluator", done=50, unit="images"),
        rest='{"kind": "node", "no',
    )
    with workspace.exclusively():
        found = overview.progress(workspace)
    assert found is not None
    gen, trainer, evaluator, pusher = found["nodes"]
    assert (gen["state"], gen["seconds"]) == ("cached", 0.5)
    assert (trainer["share"], trainer["details"]) == (0.25, "loss 0.500, accuracy 0.900")
    assert evaluator["share"] == 0.25
    assert pusher == {"node": "Pusher", "state": "waiting"}


def test_a_rejection_is_a_state_of_its_own(workspace: Workspace) -> None:
    rejected = events.NodeChanged(node="Evaluator", state="done", rejections=("too low",))
    _write(workspace, events.Planned(run_id="r", nodes=("Evaluator",)), rejected)
    with workspace.exclusively():
        found = overview.progress(workspace)
    assert found is not None
    assert found["nodes"][0]["state"] == "rejected"
