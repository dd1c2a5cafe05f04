"""Tables: complete, and readable at 80 columns."""

import io
from pathlib import Path
from typing import Any

from doubles.outcomes import OUTCOME
from rich.console import Console
from rich.table import Table

from pipeline.runs import events
from pipeline.runs.comparison import Row, Section
from pipeline.runs.releases import Release
from pipeline.runs.run_record import RunRecord
from pipeline.view import tables


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
    tables.print_full(console, tables.runs(runs, is_in_use=True))
    rows = [line.split() for line in stream.getvalue().splitlines() if "2026" in line]
    assert [row[0] for row in rows] == [record.run_id for record in runs]
    assert [row[2] for row in rows] == ["cached", "interrupted", "cached", "cached", "running"]
    assert rows[2][4:6] == ["1795577243", "(withdrawn)"]
    assert rows[3][4:6] == ["1795577244", "(removed)"]


def _lines(table: Table) -> list[str]:
    stream = io.StringIO()
    tables.print_full(Console(file=stream, width=80), table)
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def test_a_comparison_says_what_does_not_differ() -> None:
    records = [RunRecord(run_id=run_id, pipeline="mnist") for run_id in ("a", "b")]
    sections = [
        Section(title="Result", rows=(Row(name="loss", values=("1", "2")),)),
        Section(title="Configuration", rows=()),
    ]
    lines = [line.split() for line in _lines(tables.comparison(records, sections))]
    assert ["loss", "1", "2"] in lines
    assert lines[-2:] == [["Configuration"], ["the", "same", "in", "all", "runs"]]


def test_versions_fit_80_columns() -> None:
    values: dict[str, Any] = dict(run_id="20261125-084412-874647", accuracy=0.98765)
    releases = [
        Release(version=1795577243, state="withdrawn", **values),
        Release(
            version=1795577244,
            state="kept",
            accuracy_change=-0.0004,
            champion=1795577243,
            **values,
        ),
    ]
    lines = _lines(tables.releases(releases))
    assert max(map(len, lines)) <= 80
    assert lines[3].split() == [
        *("1795577244", "kept", "0.9877", "-0.0004", "1795577243", "20261125-084412-874647")
    ]


def test_an_answer_has_its_version_and_its_remark() -> None:
    answer = dict(
        image="a.png", label=None, prediction=3, probability=0.5, latency_ms=4.25, version=12
    )
    remarked = {**answer, "label": 5, "remark": "unsure: 5 0.45, 8 0.05"}
    found = [events.Answer.model_validate(values) for values in (answer, remarked)]
    lines = _lines(tables.answers(found))
    assert lines[2].split() == ["a.png", "3", "0.5000", "-", "12", "4.2", "ms"]
    assert lines[3].split() == [
        *("a.png", "✗", "3", "0.5000", "5", "12", "4.2", "ms"),
        *("unsure:", "5", "0.45,", "8", "0.05"),
    ]
