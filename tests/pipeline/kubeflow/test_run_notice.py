"""The notice about a run on Kubeflow: what it says, and the files it is made from."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.kubeflow import run_notice
from pipeline.kubeflow.run_notice import Results
from pipeline.runs.events import NodeChanged

START = datetime(2026, 1, 1, tzinfo=UTC)
FOUND = Results(accuracy=0.99, accuracy_change=0.01, report="/report", version=7)


def _ended(node: str, at_s: int, state: str = "done", **changes: object) -> NodeChanged:
    values = dict(time=START + timedelta(seconds=at_s), node=node, state=state, seconds=5.0)
    return NodeChanged.model_validate({**values, **changes})


def test_ends_are_kept_for_each_run_and_read_in_their_order(tmp_path: Path) -> None:
    for run_id, node, at_s in (("a", "Trainer", 20), ("a", "CuratedSchema", 10), ("b", "X", 0)):
        run_notice.keep(_ended(node, at_s), str(tmp_path), run_id)
    assert [e.node for e in run_notice.read(str(tmp_path), "a")] == ["CuratedSchema", "Trainer"]
    assert run_notice.read(str(tmp_path), "none") == []


def test_a_retried_node_is_told_as_its_last_attempt_ended(tmp_path: Path) -> None:
    run_notice.keep(_ended("Trainer", 10, "failed", message="no"), str(tmp_path), "a")
    run_notice.keep(_ended("Trainer", 20), str(tmp_path), "a")
    assert [ended.state for ended in run_notice.read(str(tmp_path), "a")] == ["done"]


def test_a_push() -> None:
    nodes = [_ended("CuratedSchema", 10), _ended("AtomicPusher", 60)]
    told = run_notice.notice("mnist", "run", nodes, FOUND)
    assert told is not None
    assert told.model_dump() == {
        "format": 1,
        "pipeline": "mnist",
        "run_id": "run",
        "result": "pushed",
        "exit_code": 0,
        "message": "",
        "rejections": (),
        "accuracy": 0.99,
        "accuracy_change": 0.01,
        "version": 7,
        "report": "/report",
        "seconds": 55.0,
    }


@pytest.mark.parametrize("found", [FOUND, FOUND._replace(version=None)])
def test_a_run_that_pushes_nothing_new_is_not_told(found: Results) -> None:
    nodes = [_ended("AtomicPusher", 60, "cached" if found.version else "done")]
    assert run_notice.notice("mnist", "run", nodes, found) is None


def test_a_rejection_and_a_failure_have_their_reasons() -> None:
    pusher = _ended("AtomicPusher", 60, "failed", message="not pushed: low", rejections=("low",))
    told = run_notice.notice("mnist", "run", [pusher], FOUND._replace(version=None))
    assert told is not None
    assert (told.result, told.exit_code, told.rejections) == ("rejected", 3, ("low",))
    assert told.message == "AtomicPusher rejected: not pushed: low"
    trainer = _ended("Trainer", 60, "failed", message="no space left")
    told = run_notice.notice("mnist", "run", [trainer], Results())
    assert told is not None
    assert (told.result, told.exit_code, told.version) == ("failed", 1, None)
    assert told.message == "Trainer failed: no space left"


def test_a_task_that_left_nothing_was_killed_or_did_not_start() -> None:
    told = run_notice.notice("mnist", "run", [_ended("Trainer", 10)], Results())
    assert told is not None
    assert (told.result, told.message) == (
        "failed",
        "a task was killed or did not start; see the page of the run.",
    )
