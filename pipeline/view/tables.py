"""Tables for the terminal: runs, versions, answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.runs import events
from pipeline.runs.run_record import RunRecord
from serving import version_folders

if TYPE_CHECKING:  # they import ML Metadata
    from pipeline.runs.comparison import Section
    from pipeline.runs.releases import Release

_WIDEST: Final = 1000


def answers(found: Sequence[events.Answer]) -> Table:
    """A model server's answers, one row for each image."""
    made = table(("image", "digit", "probability", "true", "version", "latency", "remark"))
    for answer in found:
        is_wrong = answer.label not in (None, answer.prediction)
        made.add_row(
            Text(answer.image),
            Text(f"{'✗ ' if is_wrong else ''}{answer.prediction}", "bold red" if is_wrong else ""),
            f"{answer.probability:.4f}",
            "-" if answer.label is None else str(answer.label),
            str(answer.version),
            f"{answer.latency_ms:.1f} ms",
            Text(answer.remark, "yellow"),
        )
    return made


def runs(records: Sequence[RunRecord], is_in_use: bool) -> Table:
    """The runs in a workspace, one row for each; the last may still be running."""
    made = table(("run", "pipeline", "result", "accuracy", "version", "took"))
    for record in records:
        outcome = record.outcome
        pushed = Path(outcome.pushed) if outcome and outcome.pushed else None
        is_running = is_in_use and record is records[-1] and record.exit_code is None
        made.add_row(
            record.run_id,
            record.pipeline,
            "running" if is_running else record.result,
            f"{outcome.accuracy:.4f}" if outcome else "-",
            _version(pushed) if pushed else "-",
            f"{record.seconds:.0f} s" if record.exit_code is not None else "-",
        )
    return made


def releases(found: Sequence[Release]) -> Table:
    """The pushed versions of a model, one row for each."""
    made = table(("version", "state", "accuracy", "change", "champion", "run"))
    styles = {"served": "bold green", "withdrawn": "red", "kept": ""}
    for release in found:
        change = release.accuracy_change
        is_worse = change is not None and change < 0
        made.add_row(
            str(release.version),
            Text(release.state, styles[release.state]),
            "-" if release.accuracy is None else f"{release.accuracy:.4f}",
            Text("-" if change is None else f"{change:+.4f}", "yellow" if is_worse else ""),
            "-" if release.champion is None else str(release.champion),
            release.run_id or "-",
        )
    return made


def comparison(records: Sequence[RunRecord], sections: Sequence[Section]) -> Table:
    """Several runs side by side; what differs is bold."""
    made = table(("", *(record.run_id for record in records)))
    for section in sections:
        made.add_section()
        made.add_row(Text(section.title, "cyan"))
        for row in section.rows:
            made.add_row(row.name, *row.values, style="bold" if row.differs else "dim")
        if not section.rows:
            made.add_row("the same in all runs", style="dim")
    return made


def print_full(console: Console, table: Table) -> None:
    """Prints a table in its full width: a shortened run or version is of no use."""
    # `print` never exceeds the width of its console.
    wide = Console(
        file=console.file,
        width=_WIDEST,
        force_terminal=console.is_terminal,
        markup=False,  # names are free text
        emoji=False,
    )
    wide.print(table)


def table(headings: Sequence[str], rows: Iterable[Sequence[str | Text]] = ()) -> Table:
    """A table in the style of all tables."""
    made = Table(
        *headings, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True
    )
    for row in rows:
        made.add_row(*row)
    return made


def _version(pushed: Path) -> str:
    if pushed.is_dir():
        return pushed.name
    is_withdrawn = int(pushed.name) in version_folders.find_withdrawn(pushed.parent)
    return f"{pushed.name} ({'withdrawn' if is_withdrawn else 'removed'})"
