"""The view of a run: plain lines without a terminal, and the same facts in the summary."""

import io
from pathlib import Path

from rich.console import Console

from pipeline.runs import events
from pipeline.runs.run_record import RunRecord
from pipeline.view.run_view import RunView, answers_table, print_table, runs_table, summary

OUTCOME = events.Outcome(
    test_images=10_000,
    accuracy=0.98765,
    loss=0.0412,
    digit_accuracy={"0": 0.99, "9": 0.97},
    rejections=(),
    pushed="/serving/7",
    artifacts="/artifacts",
    tensorboard="/artifacts/run",
)


def _console(terminal: bool = False) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, width=120, force_terminal=terminal), stream


def _play(view: RunView) -> None:
    view.on_event(events.Planned(run_id="r", nodes=("Gen", "Trainer", "Pusher")))
    view.on_event(events.NodeChanged(node="Gen", state="running"))
    view.on_event(events.NodeChanged(node="Gen", state="cached", seconds=0.25))
    view.on_event(events.NodeChanged(node="Trainer", state="running"))
    for step in (1, 50, 51, 100):
        progress = dict(epoch=1, epochs=1, loss=0.5, accuracy=0.9, images_per_s=100.0)
        view.on_event(events.Training(step=step, steps=100, **progress))  # type: ignore[arg-type]


def test_without_a_terminal_each_end_and_each_tenth_is_a_line() -> None:
    console, stream = _console()
    with RunView(console) as view:
        _play(view)
        view.on_event(events.NodeChanged(node="Trainer", state="failed", seconds=9.0))
    assert stream.getvalue().splitlines() == [
        "✓ Gen cached 0.2 s",
        "  epoch 1/1, step 50/100, loss 0.5000, accuracy 0.9000, 100 images/s",
        "  epoch 1/1, step 100/100, loss 0.5000, accuracy 0.9000, 100 images/s",
        "✗ Trainer failed 9.0 s",
    ]


def test_on_a_terminal_every_component_has_its_line() -> None:
    console, stream = _console(terminal=True)
    with RunView(console) as view:
        _play(view)
        with console.capture() as captured:
            console.print(view)
    text = captured.get()
    assert "✓ Gen" in text and "cached" in text
    assert "▸ Trainer" in text and "running" in text
    assert "· Pusher" in text and "waiting" in text
    assert "step 100/100" in text
    assert stream.getvalue()


def _summary(**changes: object) -> str:
    values = dict(run_id="r", pipeline="mnist", seconds=61.0, exit_code=0, message="", nodes=())
    console, stream = _console()
    record = RunRecord.model_validate({**values, "outcome": OUTCOME, **changes})
    console.print(summary(record, Path("/log.txt")))
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


def test_a_table_is_never_cut(tmp_path: Path) -> None:
    """A shortened run or version cannot be used in the next command."""
    (tmp_path / ".withdrawn-1795577243").mkdir()
    runs = [
        RunRecord(run_id=f"20261125-0844{n}-874647", pipeline="a-long-name" * 5, exit_code=code)
        for n, code in ((1, 0), (2, None))
    ]
    for version in ("1795577243", "1795577244"):
        pushed = OUTCOME.model_copy(update={"pushed": str(tmp_path / version)})
        runs.append(runs[0].model_copy(update={"outcome": pushed}))
    runs.append(runs[1].model_copy())
    stream = io.StringIO()
    console = Console(file=stream, width=40)
    print_table(console, runs_table(runs, is_in_use=True))
    rows = [line.split() for line in stream.getvalue().splitlines() if "2026" in line]
    assert [row[0] for row in rows] == [record.run_id for record in runs]
    assert [row[2] for row in rows] == ["cached", "interrupted", "cached", "cached", "running"]
    assert rows[2][4:6] == ["1795577243", "(withdrawn)"]
    assert rows[3][4:6] == ["1795577244", "(removed)"]


def test_an_answer_without_a_label_has_none() -> None:
    console, stream = _console()
    answer = dict(
        image="a.png", label=None, prediction=3, probability=0.5, latency_ms=4.25, version=1
    )
    console.print(answers_table([events.Answer.model_validate(answer)]))
    assert "a.png │            │          3 │      0.5000 │  4.2 ms" in stream.getvalue()
