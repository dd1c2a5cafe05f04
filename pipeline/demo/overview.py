"""The runs and versions of a workspace, and the run that is going on, for the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, TypeAlias

from components.names.node_ids import NodeId
from pipeline.local import runner
from pipeline.runs import events, releases, reports
from pipeline.runs.run_record import RunRecord
from pipeline.runs.workspace import Workspace

_MOST_RUNS: Final = 50

_Json: TypeAlias = dict[str, Any]


def overview(workspace: Workspace, name: str) -> _Json:
    """The newest runs with their gates, and the pushed versions of a model; the newest first."""
    records = workspace.records()[-_MOST_RUNS:]
    running = running_record(workspace, records)
    return {
        "root": str(workspace.root),
        "name": name,
        "running": running.run_id if running else None,
        "runs": [_run(record, record is running) for record in reversed(records)],
        "versions": [found.model_dump(mode="json") for found in releases.releases(workspace, name)],
    }


def running_record(workspace: Workspace, records: list[RunRecord]) -> RunRecord | None:
    """The record of the run that is going on."""
    if records and records[-1].exit_code is None and workspace.is_in_use:
        return records[-1]
    return None


def progress(workspace: Workspace) -> _Json | None:
    """The run that is going on: its components, and how far they are; None if there is none."""
    record = running_record(workspace, workspace.records())
    if record is None:
        return None
    nodes: dict[str, _Json] = {}
    totals: dict[str, int] = {}
    for event in _events(workspace.run_folder(record.run_id) / runner.EVENTS):
        if isinstance(event, events.Planned):
            nodes = {node: {"node": node, "state": "waiting"} for node in event.nodes}
        elif isinstance(event, events.NodeChanged):
            state = "rejected" if event.rejections else event.state
            changed = {"state": state, "seconds": event.seconds}
            nodes.setdefault(event.node, {"node": event.node}).update(changed)
        elif isinstance(event, events.Training):
            text = f"loss {event.loss:.3f}, accuracy {event.accuracy:.3f}"
            share = event.step / event.steps
            nodes.get(NodeId.TRAINER, {}).update({"share": share, "details": text})
        elif isinstance(event, events.Progress):
            totals[event.node] = event.total or totals.get(event.node, 0)
            if totals[event.node]:
                share = min(1.0, event.done / totals[event.node])
                nodes.get(event.node, {}).update({"share": share})
    return {"run_id": record.run_id, "nodes": list(nodes.values())}


def report_of(workspace: Workspace, run_id: str) -> Path | None:
    """The report of a run; None if it has none, or if it was removed."""
    found = (record for record in workspace.records() if record.run_id == run_id)
    record = next(found, None)
    return reports.find(workspace, record) if record else None


def _run(record: RunRecord, is_running: bool) -> _Json:
    outcome = record.outcome
    failed = [node for node in record.nodes if node.state == "failed"]
    reasons = [reason for node in failed for reason in (node.rejections or (node.message,))]
    return {
        "run_id": record.run_id,
        "result": "running" if is_running else record.result,
        "accuracy": outcome.accuracy if outcome else None,
        "version": Path(outcome.pushed).name if outcome and outcome.pushed else None,
        "seconds": record.seconds if record.exit_code is not None else None,
        "reasons": [*reasons, *(outcome.rejections if outcome else ())],
        "gates_off": list(outcome.gates_off) if outcome else [],
        "has_report": bool(outcome and outcome.report and Path(outcome.report).is_file()),
    }


def _events(path: Path) -> list[events.Event]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:  # the run has just started
        return []
    return [events.parse(line) for line in lines if line.endswith("\n")]  # else it is being written
