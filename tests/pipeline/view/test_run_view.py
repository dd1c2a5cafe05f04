"""The view of a run: plain lines without a terminal; what is running now on one."""

import io
import re
from datetime import UTC, datetime, timedelta

from rich.console import Console

from pipeline.runs import events
from pipeline.view.run_view import LOADING, RunView


def _console(terminal: bool = False) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, width=80, force_terminal=terminal), stream


def _play(view: RunView) -> None:
    view.on_event(events.Planned(run_id="r", nodes=("Gen", "Trainer", "Pusher")))
    view.on_event(events.NodeChanged(node="Gen", state="running"))
    view.on_event(events.NodeChanged(node="Gen", state="cached", seconds=0.25))
    view.on_event(events.NodeChanged(node="Trainer", state="running"))
    for step in (1, 50, 51, 100):
        progress = dict(epoch=1, epochs=1, loss=0.5, accuracy=0.9, images_per_s=100.0)
        view.on_event(events.Training(step=step, steps=100, **progress))  # type: ignore[arg-type]


def test_without_a_terminal_each_end_and_each_quarter_is_a_line() -> None:
    console, stream = _console()
    with RunView(console) as view:
        _play(view)
        view.on_event(events.NodeChanged(node="Trainer", state="failed", seconds=9.0))
    assert stream.getvalue().splitlines() == [
        f"{LOADING} ...",
        "✓ Gen               cached      0.2 s",
        "  Trainer: epoch 1/1, step 50/100, loss 0.5000, accuracy 0.9000, 100 images/s",
        "  Trainer: epoch 1/1, step 100/100, loss 0.5000, accuracy 0.9000, 100 images/s",
        "✗ Trainer           failed      9.0 s",
    ]


def test_a_rejection_is_no_success() -> None:
    console, stream = _console()
    with RunView(console) as view:
        rejected = events.NodeChanged(node="Evaluator", state="done", rejections=("too low",))
        view.on_event(rejected)
    assert stream.getvalue().splitlines()[-1] == "✗ Evaluator         rejected    0.0 s"


def test_progress_without_a_known_end_is_not_a_share() -> None:
    console, stream = _console()
    with RunView(console) as view:
        for done, total in ((0, 200), (50, None), (60, None), (120, None)):
            progress = events.Progress(node="Evaluator", done=done, total=total, unit="images")
            view.on_event(progress)
    assert stream.getvalue().splitlines()[1:] == [
        "  Evaluator: 50 of 200 images",
        "  Evaluator: 120 of 200 images",
    ]


def test_the_time_left_is_that_of_the_events_also_if_they_are_replayed() -> None:
    """A quarter of the work in 30 s since the first sign of progress: 90 s are left."""
    console, _ = _console(terminal=True)
    now = datetime.now(UTC)
    with RunView(console) as view:
        view.on_event(
            events.Planned(run_id="r", nodes=("Evaluator",), time=now - timedelta(seconds=60))
        )
        for seconds, done in ((40, None), (30, 100), (0, 325)):
            at = now - timedelta(seconds=seconds)
            if done is None:
                event: events.Event = events.NodeChanged(node="Evaluator", state="running", time=at)
            else:
                event = events.Progress(
                    node="Evaluator", done=done, total=1000, unit="images", time=at
                )
            view.on_event(event)
        with console.capture() as captured:
            console.print(view)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", captured.get())
    left = re.search(r"32%, 1:(\d\d) left", text)
    assert left and 28 <= int(left[1]) <= 40, text
    assert re.search(r"Evaluator +4\d s", text), "since its start"
    assert re.search(r"0 of 1 components, 1:0\d", text)


def test_a_terminal_shows_what_is_running() -> None:
    console, _ = _console(terminal=True)
    with RunView(console) as view:
        with console.capture() as captured:
            console.print(view)
        assert LOADING in captured.get()
        _play(view)
        with console.capture() as captured:
            console.print(view)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", captured.get())
    assert "Trainer" in text and "100%" in text and "0 s left" not in text
    assert "step 100/100" in text
    assert "1 of 3 components" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_a_run_that_ended_leaves_one_line_for_each_component() -> None:
    console, stream = _console(terminal=True)
    with RunView(console) as view:
        _play(view)
    for name in ("Gen", "Trainer"):
        assert len(re.findall(rf"✓ {name}", stream.getvalue())) == (name == "Gen")
