"""The summary of a run: the verdict, its reasons, the places of the results."""

import io
from pathlib import Path

from doubles.outcomes import OUTCOME
from rich.console import Console

from pipeline.runs import events
from pipeline.runs.run_record import RunRecord
from pipeline.view.summary import summary


def _summary(**changes: object) -> str:
    values = dict(run_id="r", pipeline="mnist", seconds=61.0, exit_code=0, message="", nodes=())
    stream = io.StringIO()
    record = RunRecord.model_validate({**values, "outcome": OUTCOME, **changes})
    Console(file=stream, width=120).print(summary(record, Path("/log.txt")))
    return stream.getvalue()


def test_the_summary_of_a_pushed_model() -> None:
    text = _summary()
    for fact in (
        "0.9877 on 10,000 test images, loss 0.0412",
        "9, 0.9700",
        "yes, all gates passed",
        "/serving/7",
        "tensorboard --logdir /artifacts/run",
        "/log.txt",
        "61 s",
        "cached: this model was pushed before",
    ):
        assert fact in text


def test_the_summary_of_a_rejected_model_has_the_reasons() -> None:
    rejected = OUTCOME.model_copy(update={"rejections": ("too low", "too slow"), "pushed": None})
    text = _summary(outcome=rejected, exit_code=3, message="not pushed: too low; too slow")
    assert "no: too low" in text and "no: too slow" in text
    assert "no model" in text
    assert "rejected by a gate (exit code 3)" in text
    assert text.count("too low") == 1, "once is enough"


def test_the_summary_repeats_no_other_line() -> None:
    text = _summary(message="the model was pushed, but not served: no", exit_code=1)
    assert "failed (exit code 1)" in text
    assert "the model was pushed, but not served: no" in text


def test_the_summary_of_a_stopped_run_has_the_anomalies() -> None:
    gate = events.NodeChanged(node="AnomalyGate", state="failed", rejections=("train, label: 12",))
    text = _summary(outcome=None, exit_code=3, nodes=(gate,))
    assert "AnomalyGate" in text and "train, label: 12" in text
    assert "if intended" in text and "`mnist-tfx schema diff` and docs/own-data.md" in text


def test_gates_that_are_off_are_part_of_the_verdict() -> None:
    text = _summary(outcome=OUTCOME.model_copy(update={"gates_off": ("evaluation.max_loss",)}))
    assert "blessed      yes, but 1 gate is off: evaluation.max_loss" in text


def test_a_worse_model_is_seen() -> None:
    text = _summary(outcome=OUTCOME.model_copy(update={"accuracy_change": -0.0004}))
    assert "change       -0.0004 from the champion" in text
