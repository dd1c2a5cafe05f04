"""The notice about a run on Kubeflow: what it says, and the files it is made from."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from doubles import kfp_api
from werkzeug import Request, Response

from components.names.node_ids import NodeId
from pipeline.kubeflow import run_notice
from pipeline.kubeflow.run_notice import Results
from pipeline.runs import webhook
from pipeline.runs.events import NodeChanged

START = datetime(2026, 1, 1, tzinfo=UTC)
FOUND = Results(accuracy=0.99, accuracy_change=0.01, report="/report", version=7, is_new=True)


def _ended(node: str, at_s: int, state: str = "done", **changes: object) -> NodeChanged:
    values = dict(time=START + timedelta(seconds=at_s), node=node, state=state, seconds=5.0)
    return NodeChanged.model_validate({**values, **changes})


def test_ends_are_kept_for_each_run_and_read_in_their_order(tmp_path: Path) -> None:
    for run_id, node, at_s in (
        ("a", "Trainer", 20),
        ("a", "CuratedSchema", 10),
        ("b", "Transform", 0),
    ):
        run_notice.write_ending(_ended(node, at_s), str(tmp_path), run_id)
    assert [e.node for e in run_notice.read_endings(str(tmp_path), "a")] == [
        "CuratedSchema",
        "Trainer",
    ]
    assert run_notice.read_endings(str(tmp_path), "none") == []


def test_a_retried_node_is_told_as_its_last_attempt_ended(tmp_path: Path) -> None:
    run_notice.write_ending(_ended("Trainer", 10, "failed", message="no"), str(tmp_path), "a")
    run_notice.write_ending(_ended("Trainer", 20), str(tmp_path), "a")
    assert [ended.state for ended in run_notice.read_endings(str(tmp_path), "a")] == ["done"]


def _all(**changes: NodeChanged) -> list[NodeChanged]:
    """Every node ended well, one second after the other, but for the changes."""
    nodes = {node.value: _ended(node, 10 + at_s) for at_s, node in enumerate(NodeId)}
    return list({**nodes, **changes}.values())


def test_a_push() -> None:
    notice = run_notice.notice_of("mnist", "run", _all(), FOUND)
    assert notice is not None
    assert notice.model_dump() == {
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
        "seconds": 5.0 + len(NodeId) - 1,
    }


def test_a_push_is_told_also_if_its_results_cannot_be_read() -> None:
    notice = run_notice.notice_of("mnist", "run", _all(), Results())
    assert notice is not None
    assert (notice.result, notice.version, notice.accuracy) == ("pushed", None, None)


def test_a_run_that_pushes_nothing_new_is_not_told() -> None:
    cached = _all(AtomicPusher=_ended("AtomicPusher", 60, "cached"))
    assert run_notice.notice_of("mnist", "run", cached, FOUND) is None
    assert run_notice.notice_of("mnist", "run", _all(), FOUND._replace(is_new=False)) is None


def test_a_rejection_and_a_failure_have_their_reasons() -> None:
    pusher = _ended("AtomicPusher", 60, "failed", message="not pushed: low", rejections=("low",))
    notice = run_notice.notice_of("mnist", "run", _all(AtomicPusher=pusher), Results(accuracy=0.5))
    assert notice is not None
    assert (notice.result, notice.exit_code, notice.rejections) == ("rejected", 3, ("low",))
    assert notice.message == "AtomicPusher rejected: not pushed: low"
    trainer = _ended("Trainer", 60, "failed", message="no space left")
    notice = run_notice.notice_of("mnist", "run", [trainer], Results())
    assert notice is not None
    assert (notice.result, notice.exit_code, notice.version) == ("failed", 1, None)
    assert notice.message == "Trainer failed: no space left"


def test_a_failure_is_told_also_if_the_push_was_cached() -> None:
    report = _ended("RunReport", 60, "failed", message="no space left")
    pusher = _ended("AtomicPusher", 60, "cached")
    notice = run_notice.notice_of(
        "mnist", "run", _all(RunReport=report, AtomicPusher=pusher), FOUND
    )
    assert notice is not None
    assert (notice.result, notice.message) == ("failed", "RunReport failed: no space left")


@pytest.mark.parametrize("killed", [NodeId.RUN_REPORT, NodeId.TRAINER])
def test_a_task_that_left_nothing_was_killed_or_did_not_start(killed: NodeId) -> None:
    nodes = [node for node in _all() if node.node != killed]
    notice = run_notice.notice_of("mnist", "run", nodes, FOUND)
    assert notice is not None
    assert (notice.result, notice.message) == (
        "failed",
        "a task was killed or did not start; see the page of the run.",
    )


def test_a_damaged_file_counts_as_none(tmp_path: Path) -> None:
    run_notice.write_ending(_ended("Trainer", 10), str(tmp_path), "a")
    (tmp_path / "a" / "Trainer.json").write_text('{"kind": "no')
    assert run_notice.read_endings(str(tmp_path), "a") == []


def test_without_the_metadata_store_the_reason_is_sent_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = _ended("Trainer", 10, "failed", message="the metadata store does not answer")
    run_notice.write_ending(failed, str(tmp_path), "a")
    received: list[dict[str, object]] = []

    def receive(request: Request) -> Response:
        received.append(request.get_json())
        return Response()

    arguments = ["--pipeline", "mnist", "--run-id", "a", "--pipeline-root", str(tmp_path)]
    with kfp_api.serving(receive) as url:
        monkeypatch.setenv(webhook.VARIABLE, url)
        slices = ["--node", "no slice"]
        assert run_notice.main([*arguments, "--endings", str(tmp_path), *slices]) == 0
    assert capsys.readouterr().out == "the notice was sent.\n"
    assert [notice["message"] for notice in received] == [
        "Trainer failed: the metadata store does not answer"
    ]
    assert not (tmp_path / "a").exists(), "the ends are no longer needed"


def test_a_missing_address_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(webhook.VARIABLE, raising=False)
    run_notice.write_ending(_ended("Trainer", 10, "failed", message="no"), str(tmp_path), "a")
    arguments = ["--pipeline", "mnist", "--run-id", "a", "--pipeline-root", str(tmp_path)]
    assert run_notice.main([*arguments, "--endings", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "the notice was not sent: MNIST_TFX_WEBHOOK is not set.\n"
