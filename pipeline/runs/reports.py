"""The report of a run."""

from __future__ import annotations

from pathlib import Path

from pipeline.runs.lineage import Lineage
from pipeline.runs.run_record import RunRecord
from pipeline.runs.workspace import Workspace


def find(workspace: Workspace, record: RunRecord) -> Path | None:
    """The file; None if the run has none, or if it was deleted or set aside."""
    if not (record.outcome and record.outcome.report):
        return None
    path = Path(record.outcome.report)
    if not path.is_file():
        return None
    if path.is_relative_to(workspace.root / "runs" / record.run_id):
        return path
    # The first release kept it among the artifacts. A later run has the same path if the metadata
    # was set aside in between: the numbers begin again.
    lineage = Lineage.of_workspace(workspace)
    artifacts = lineage.of_run(record.run_id) if lineage else []
    return path if str(path.parent) in {artifact.uri for artifact in artifacts} else None
