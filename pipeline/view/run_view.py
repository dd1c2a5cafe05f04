"""The terminal output of a run: a line for each component, the training, the summary."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from components.names.node_ids import NodeId
from pipeline.runs import events
from pipeline.runs.releases import Release
from pipeline.runs.run_record import RunRecord
from serving import version_folders

_STYLES: Final[dict[events.NodeState, tuple[str, str]]] = {
    "waiting": ("·", "dim"),
    "running": ("▸", "bold cyan"),
    "cached": ("✓", "blue"),
    "resolved": ("✓", "green"),
    "done": ("✓", "green"),
    "failed": ("✗", "bold red"),
}

_WIDEST: Final = 1000
_RESULTS: Final = {
    "pushed": "the model was pushed",
    "cached": "cached: this model was pushed before",
    "rejected": "rejected by a gate (exit code 3)",
    "failed": "failed (exit code 1)",
}


class RunView:
    """Shows a run. On a terminal the lines change in place; elsewhere each change is a line."""

    def __init__(self, console: Console):
        self._console = console
        self._nodes: dict[str, events.NodeChanged] = {}
        self._started_s: dict[str, float] = {}
        self._training: events.Training | None = None
        self.answers: list[events.Answer] = []
        self._live = Live(self, console=console, refresh_per_second=4, transient=False)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def on_event(self, event: events.Event) -> None:
        """Shows an event."""
        if isinstance(event, events.Planned):
            self._nodes = {
                node: events.NodeChanged(node=node, state="waiting") for node in event.nodes
            }
        elif isinstance(event, events.NodeChanged):
            self._nodes[event.node] = event
            if event.state == "running":
                self._started_s[event.node] = time.monotonic()
            elif not self._live.is_started:
                self._console.print(self._line(event))
        elif isinstance(event, events.Training):
            self._print_progress(event)
            self._training = event
        elif isinstance(event, events.LayerTable):
            self._console.print(Text(event.text), highlight=False)
        elif isinstance(event, events.Answer):
            self.answers.append(event)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table.grid(padding=(0, 2))
        for node in self._nodes.values():
            symbol, style = _STYLES[node.state]
            seconds = node.seconds
            if node.state == "running":
                seconds = time.monotonic() - self._started_s[node.node]
            table.add_row(
                Text(f"{symbol} {node.node}", style),
                Text(node.state, style),
                Text("" if node.state == "waiting" else f"{seconds:.1f} s", justify="right"),
            )
            if node.node == NodeId.TRAINER and node.state == "running" and self._training:
                table.add_row(_training_text(self._training))
        if self._nodes:
            yield table
        if self._training and self._nodes[NodeId.TRAINER].state == "running":
            yield ProgressBar(total=self._training.steps, completed=self._training.step, width=60)

    def _line(self, event: events.NodeChanged) -> Text:
        symbol, style = _STYLES[event.state]
        return Text(f"{symbol} {event.node} {event.state} {event.seconds:.1f} s", style)

    def _print_progress(self, event: events.Training) -> None:
        """Without a live display: one line for each tenth of the training."""
        before = self._training.step * 10 // event.steps if self._training else 0
        if not self._live.is_started and event.step * 10 // event.steps != before:
            self._console.print(_training_text(event), highlight=False)


def answers_table(answers: Sequence[events.Answer]) -> Table:
    """A model server's answers, one row for each image."""
    table = Table()
    for heading in ("image", "true digit", "prediction", "probability", "latency"):
        table.add_column(heading, justify="right")
    for answer in answers:
        is_wrong = answer.label not in (None, answer.prediction)
        style = "bold red" if is_wrong else ""
        table.add_row(
            Text(answer.image),
            "" if answer.label is None else str(answer.label),
            Text(f"{'✗ ' if is_wrong else ''}{answer.prediction}", style),
            f"{answer.probability:.4f}",
            f"{answer.latency_ms:.1f} ms",
        )
    return table


def runs_table(records: Sequence[RunRecord], is_in_use: bool) -> Table:
    """The runs in a workspace, one row for each; the last may still be running."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for heading in ("run", "pipeline", "result", "accuracy", "version", "took"):
        table.add_column(heading)
    for record in records:
        outcome = record.outcome
        pushed = Path(outcome.pushed) if outcome and outcome.pushed else None
        is_running = is_in_use and record is records[-1] and record.exit_code is None
        table.add_row(
            record.run_id,
            record.pipeline,
            "running" if is_running else record.result,
            f"{outcome.accuracy:.4f}" if outcome else "-",
            _version(pushed) if pushed else "-",
            f"{record.seconds:.0f} s" if record.exit_code is not None else "-",
        )
    return table


def _version(pushed: Path) -> str:
    if pushed.is_dir():
        return pushed.name
    is_withdrawn = int(pushed.name) in version_folders.find_withdrawn(pushed.parent)
    return f"{pushed.name} ({'withdrawn' if is_withdrawn else 'removed'})"


def print_table(console: Console, table: Table) -> None:
    """Prints a table in its full width: a shortened run or version is of no use."""
    # `print` never exceeds the width of its console.
    Console(file=console.file, width=_WIDEST, force_terminal=console.is_terminal).print(table)


def releases_table(found: Sequence[Release]) -> Table:
    """The pushed versions of a model, one row for each."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for heading in ("version", "state", "accuracy", "worst digit", "champion", "run", "data"):
        table.add_column(heading)
    styles = {"served": "bold green", "withdrawn": "red", "kept": ""}
    for release in found:
        worst = release.worst_digit
        table.add_row(
            str(release.version),
            Text(release.state, styles[release.state]),
            "-" if release.accuracy is None else f"{release.accuracy:.4f}",
            "-" if worst is None else f"{worst}: {release.worst_digit_accuracy:.4f}",
            "-" if release.champion is None else str(release.champion),
            release.run_id or "-",
            (release.data_digest or "-").removeprefix("sha256:")[:8],
        )
    return table


def summary(record: RunRecord, log: Path) -> Text:
    """The summary of a run: accuracy, verdict and reasons, and the locations of the results.

    Plain lines, so that no path is broken in two: print it with `soft_wrap`.
    """
    lines: list[tuple[str, str, str]] = []
    outcome = record.outcome
    if outcome is not None:
        worst = outcome.worst_digit
        accuracy = f"{outcome.accuracy:.4f} on {outcome.test_images:,} test images"
        lines.append(("accuracy", f"{accuracy}, loss {outcome.loss:.4f}", ""))
        lines.append(("worst digit", f"{worst}, {outcome.digit_accuracy[worst]:.4f}", ""))
        if outcome.rejections:
            lines += [("blessed", f"no: {rejection}", "red") for rejection in outcome.rejections]
        else:
            lines.append(("blessed", "yes, all gates passed", "green"))
        lines.append(("pushed", outcome.pushed or "no model", ""))
        lines.append(("report", outcome.report or "none", ""))
        lines.append(("artifacts", outcome.artifacts, ""))
        tensorboard = Path(sys.executable).with_name("tensorboard")
        lines.append(("tensorboard", f"{tensorboard} --logdir {outcome.tensorboard}", ""))
    failed = [node for node in record.nodes if node.state == "failed"]
    for node in failed:
        reasons = node.rejections or (node.message,)
        lines += [(node.node, reason, "red") for reason in reasons]
        if node.node == NodeId.ANOMALY_GATE and node.rejections:
            lines.append(("if intended", "see `mnist-tfx schema diff` and docs/own-data.md", ""))
    lines.append(("log", str(log), ""))
    lines.append(("took", f"{record.seconds:.0f} s", ""))
    style = "bold red" if record.message else "bold green"
    lines.append(("result", _RESULTS[record.result], style))
    has_reasons = bool(failed or (outcome and outcome.rejections))
    if record.message and not has_reasons:
        lines.append(("", record.message, "red"))
    text = Text()
    for name, fact, fact_style in lines:
        text.append(f"\n{name:<12} ")
        text.append(fact, fact_style)
    return text


def _training_text(event: events.Training) -> Text:
    return Text(
        f"  epoch {event.epoch}/{event.epochs}, step {event.step}/{event.steps}, "
        f"loss {event.loss:.4f}, accuracy {event.accuracy:.4f}, {event.images_per_s:.0f} images/s",
        "cyan",
    )
