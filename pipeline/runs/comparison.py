"""Several runs side by side: results, data, code, configuration, and seconds.

What a run was made from is in ML Metadata; how it ended is in its record.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from components.names import artifact_properties as properties
from components.names.node_ids import NodeId
from pipeline.runs.lineage import Lineage
from pipeline.runs.run_record import RunRecord
from pipeline.runs.workspace import Workspace

NONE = "-"
_SECONDS = "Seconds"


class Row(BaseModel):
    """One fact of each run."""

    model_config = ConfigDict(frozen=True)

    name: str
    values: tuple[str, ...]

    is_measured: bool = False
    """Whether it varies without a reason, as seconds do."""

    @property
    def differs(self) -> bool:
        """Whether the runs are not the same in this."""
        return not self.is_measured and len(set(self.values)) > 1


class Section(BaseModel):
    """The facts of one kind."""

    model_config = ConfigDict(frozen=True)

    title: str
    rows: tuple[Row, ...]


def compare(workspace: Workspace, run_ids: Sequence[str]) -> tuple[list[RunRecord], list[Section]]:
    """Compares runs.

    Args:
      workspace: the workspace of the runs.
      run_ids: the runs, each by its id or the beginning of it.

    Returns:
      The records of the runs, and the sections.

    Raises:
      PipelineError: a run does not exist, or its name has several meanings.
    """
    records = [workspace.find_record(run_id) for run_id in run_ids]
    lineage = Lineage.of_workspace(workspace)
    origins = [lineage.origin_of_run(record.run_id) if lineage else {} for record in records]
    parts: dict[str, list[Mapping[str, str]]] = {
        "Result": [dict(_result(record)) for record in records],
        "Accuracy": [dict(_metrics(record)) for record in records],
        "Data and code": [dict(_origin(origin)) for origin in origins],
        "Configuration": _differing([dict(_settings(origin)) for origin in origins]),
        _SECONDS: [dict(_seconds(record)) for record in records],
    }
    sections = [
        Section(title=title, rows=_rows(facts, is_measured=title == _SECONDS))
        for title, facts in parts.items()
    ]
    return records, sections


def _rows(facts: Sequence[Mapping[str, str]], is_measured: bool = False) -> tuple[Row, ...]:
    names = dict.fromkeys(name for each in facts for name in each)
    return tuple(
        Row(
            name=name,
            values=tuple(each.get(name, NONE) for each in facts),
            is_measured=is_measured,
        )
        for name in names
    )


def _differing(facts: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Only what is not the same in all runs."""
    known = [each for each in facts if each]  # a run that a data gate stopped has no configuration
    names = {row.name for row in _rows(known) if row.differs}
    return [{name: value for name, value in each.items() if name in names} for each in facts]


def _result(record: RunRecord) -> Iterator[tuple[str, str]]:
    outcome = record.outcome
    yield "result", record.result
    yield "version", Path(outcome.pushed).name if outcome and outcome.pushed else NONE
    yield "seconds", f"{record.seconds:.0f}" if record.exit_code is not None else NONE
    yield "gates off", ", ".join(outcome.gates_off) if outcome and outcome.gates_off else "none"
    yield "rejections", "\n".join(record.rejections) or "none"


def _metrics(record: RunRecord) -> Iterator[tuple[str, str]]:
    outcome = record.outcome
    if outcome is None:
        return
    yield "test images", f"{outcome.test_images:,}"
    yield "accuracy", f"{outcome.accuracy:.4f}"
    yield "loss", f"{outcome.loss:.4f}"
    if outcome.calibration_error is not None:
        yield "calibration error", f"{outcome.calibration_error:.4f}"
    for name, accuracy in outcome.digit_accuracy.items():
        yield f"accuracy of {name}", f"{accuracy:.4f}"


def _origin(origin: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, key in (("data, sha256", properties.FINGERPRINT), ("code, sha256", "code_digest")):
        yield name, str(origin.get(key, NONE)).removeprefix("sha256:")[:12]


def _settings(origin: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for section, values in json.loads(origin.get("configuration", "{}")).items():
        if not isinstance(values, dict):
            yield section, str(values)
            continue
        for key, value in values.items():
            yield f"{section}.{key}", value if isinstance(value, str) else json.dumps(value)


def _seconds(record: RunRecord) -> Iterator[tuple[str, str]]:
    seconds = {node.node: node for node in record.nodes}
    for name in NodeId:
        if node := seconds.get(name):
            cached = " (cached)" if node.state == "cached" else ""
            yield name.value, f"{node.seconds:.1f}{cached}"
