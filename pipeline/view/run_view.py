"""Shows a run while it goes on: a line for each component that ended, and what is running now."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final, Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from components.names.node_ids import NodeId
from pipeline.runs import events

LOADING: Final = "loading TensorFlow and TFX"
ASKING: Final = "asking the served model"
_ENDING: Final = "waiting for the end"

_STYLES: Final = {
    "done": ("✓", "green"),
    "resolved": ("✓", "green"),
    "cached": ("✓", "blue"),
    "rejected": ("✗", "bold red"),
    "failed": ("✗", "bold red"),
}
_NAME_WIDTH: Final = max(map(len, NodeId))
_BAR_WIDTH: Final = 24
_SHORTEST_S: Final = 2.0  # of progress that the time left is estimated from
_PARTS: Final = 4  # without a live display: the lines about the progress of one component


@dataclass
class _Running:
    """A component that is running."""

    start_s: float
    first: tuple[float, int] | None = None
    """The time of the first sign of progress, and what was done then."""

    progress: events.Training | events.Progress | None = None
    total: int | None = None
    """The value of `done` at the end; None if it is not known."""

    @property
    def done(self) -> int:
        """What is done, in steps or in the unit of the progress."""
        if isinstance(self.progress, events.Training):
            return self.progress.step
        return self.progress.done if self.progress else 0

    @property
    def seconds(self) -> float:
        """Since its start."""
        return time.time() - self.start_s

    @property
    def seconds_left(self) -> float | None:
        """Estimated from the rate since the first sign of progress; None if it is too early."""
        if not (self.first and self.total):
            return None
        start_s, start = self.first
        seconds = time.time() - start_s
        if seconds < _SHORTEST_S or self.done <= start:
            return None
        return max(0.0, seconds * (self.total - self.done) / (self.done - start))


class RunView:
    """Shows a run.

    Components that ended are lines that stay. On a terminal, the lines below them show what is
    running; without one, some lines about its progress are printed.

    Args:
      console: where to print.
      phase: what happens before the first component starts.
      last_phase: what happens after the last one has ended.
    """

    def __init__(self, console: Console, phase: str = LOADING, last_phase: str = ASKING):
        self._console = console
        self._phase = phase
        self._last_phase = last_phase
        self._waiting: set[str] = set()
        self._count = 0
        self._running: dict[str, _Running] = {}
        self._start_s = time.time()
        self._spinner = Spinner("dots", style="cyan")
        self.answers: list[events.Answer] = []
        self._live = Live(self, console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live.start()
        else:
            self._print(f"{self._phase} ...")
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def on_event(self, event: events.Event) -> None:
        """Shows an event; one of the past has the time at which it happened."""
        self._start_s = min(self._start_s, _when(event))
        if isinstance(event, events.Planned):
            self._waiting = set(event.nodes)
            self._count = len(event.nodes)
        elif isinstance(event, events.NodeChanged):
            self._change(event)
        elif isinstance(event, events.Training):
            self._advance(NodeId.TRAINER, event, event.steps)
        elif isinstance(event, events.Progress):
            self._advance(event.node, event, event.total)
        elif isinstance(event, events.Answer):
            self.answers.append(event)

    def _change(self, event: events.NodeChanged) -> None:
        if event.state == "running":
            self._running[event.node] = _Running(_when(event))
        elif event.state == "waiting":
            if event.message:
                self._print(f"! {event.node}: {event.message}", "yellow")
        else:
            self._running.pop(event.node, None)
            self._waiting.discard(event.node)
            if not self._waiting:
                self._phase = _ENDING if event.rejections else self._last_phase
            self._console.print(_ended(event), highlight=False)

    def _advance(
        self, node: str, event: events.Training | events.Progress, total: int | None
    ) -> None:
        running = self._running.setdefault(node, _Running(_when(event)))
        before = running.done
        running.progress = event
        running.total = total or running.total
        if running.first is None and running.done:
            running.first = _when(event), running.done
        if self._live.is_started or not running.total:
            return
        if before * _PARTS // running.total != running.done * _PARTS // running.total:
            self._print(f"  {node}: {_details(running)}")

    def _print(self, text: str, style: str = "") -> None:
        self._console.print(text, style=style, highlight=False, soft_wrap=True, markup=False)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for node, running in list(self._running.items()):
            row = Table.grid(padding=(0, 1))
            row.add_row(
                self._spinner,
                Text(f"{node:<{_NAME_WIDTH}} {_duration(running.seconds):>7}", "bold cyan"),
                *_bar(running),
            )
            yield row
            if running.progress:
                yield Text(f"  {_details(running)}", "cyan", no_wrap=True, overflow="ellipsis")
        total = _duration(time.time() - self._start_s)
        if self._count and self._waiting:
            done = self._count - len(self._waiting)
            yield Text(f"  {done} of {self._count} components, {total}", "dim")
        else:
            self._spinner.update(text="")
            row = Table.grid(padding=(0, 1))
            row.add_row(self._spinner, Text(f"{self._phase}, {total}", "cyan"))
            yield row


def _when(event: events.Event) -> float:
    """The time of an event, in seconds since 1970."""
    return event.time.timestamp() if event.time else time.time()


def _ended(event: events.NodeChanged) -> Text:
    """The line about a component that ended."""
    state = "rejected" if event.rejections else event.state
    symbol, style = _STYLES[state]
    return Text(f"{symbol} {event.node:<{_NAME_WIDTH}} {state:<8} {event.seconds:6.1f} s", style)


def _bar(running: _Running) -> tuple[ProgressBar | Text, ...]:
    """The bar, the share and the time left; empty if the total is not known."""
    if not running.total:
        return ()
    share = min(1.0, running.done / running.total)
    left_s = running.seconds_left
    left = "" if left_s is None else f", {_duration(left_s)} left"
    bar = ProgressBar(total=running.total, completed=running.done, width=_BAR_WIDTH)
    return bar, Text(f"{share:4.0%}{left}", "cyan")


def _details(running: _Running) -> str:
    event = running.progress
    if isinstance(event, events.Training):
        return (
            f"epoch {event.epoch}/{event.epochs}, step {event.step}/{event.steps}, loss "
            f"{event.loss:.4f}, accuracy {event.accuracy:.4f}, {event.images_per_s:.0f} images/s"
        )
    assert event is not None
    total = f" of {running.total:,}" if running.total else ""
    return f"{event.done:,}{total} {event.unit}"


def _duration(seconds: float) -> str:
    """For people: "12 s", "3:07" (minutes), "1:02:03" (hours)."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
