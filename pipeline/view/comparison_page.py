"""A page that compares runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.runs import comparison, reports
from pipeline.runs.workspace import Workspace
from pipeline.view import native_output


def write(workspace: Workspace, run_ids: Sequence[str]) -> Path:
    """Writes the page into the folder of the last of the runs; returns its path.

    Raises:
      PipelineError: a run does not exist.
    """
    with native_output.muted():
        from components.report import page  # imports TFMA: seconds

    records, sections = comparison.compare(workspace, run_ids)
    runs = []
    for record in records:
        report = reports.find(workspace, record)
        runs.append({"name": record.run_id, "report": report.as_uri() if report else None})
    others = "-".join(record.run_id for record in records[:-1])
    path = workspace.run_folder(records[-1].run_id) / f"compared-with-{others}.html"
    text = page.render("comparison.html.j2", runs=runs, sections=sections)
    path.write_text(text, encoding="utf-8")
    return path
