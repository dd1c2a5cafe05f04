"""The pushed versions of a model: their states, their results, and roll-back.

The versions are read from the serving folder, as a server does; their origin from ML Metadata;
their results from the records of the runs.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ml_metadata.proto import metadata_store_pb2
from pydantic import BaseModel, ConfigDict

from components.names import artifact_properties as properties
from pipeline.runs import pushes
from pipeline.runs.lineage import Lineage
from pipeline.runs.run_record import RunRecord
from pipeline.runs.workspace import Workspace
from pipeline.settings.errors import PipelineError
from serving import version_folders

State = Literal["served", "kept", "withdrawn"]
"""`withdrawn`: a roll-back set it aside."""


class Release(BaseModel):
    """One pushed version; unknown values are None."""

    model_config = ConfigDict(frozen=True)

    version: int
    state: State
    pushed_at: datetime | None = None
    run_id: str | None = None
    """The run that pushed it."""

    accuracy: float | None = None
    loss: float | None = None
    worst_digit: str | None = None
    worst_digit_accuracy: float | None = None
    data_digest: str | None = None
    """The digest of the IDX files' content."""

    champion: int | None = None
    """The version that it was compared with."""

    accuracy_change: float | None = None
    """Its accuracy minus that of the champion, on the same images."""


def releases(workspace: Workspace, name: str) -> list[Release]:
    """The pushed versions of a model, the newest first."""
    folder = workspace.serving(name)
    served = version_folders.find(folder)
    withdrawn = version_folders.find_withdrawn(folder)
    runs = {  # of several runs with a version, the first pushed it
        record.outcome.pushed: record
        for record in reversed(workspace.records())
        if record.outcome and record.outcome.pushed
    }
    lineage = Lineage.of_workspace(workspace)
    origins = _Origins(lineage) if lineage else None
    found = []
    for version in sorted({**served, **withdrawn}, reverse=True):
        place = str(folder / str(version))
        known = origins.of(place) if origins else {}
        if place in runs:
            known |= _result(runs[place])
        state: State = "kept" if version in served else "withdrawn"
        if version == max(served, default=None):
            state = "served"
        found.append(Release(version=version, state=state, **known))
    return found


def roll_back(workspace: Workspace, name: str, version: int | None) -> tuple[int | None, int]:
    """Serves another version, without training.

    By default the newest version before the served one that is another model: with other files.
    It is possible while a run goes on; the run keeps the champion that it has resolved.

    Returns:
      The version that was served before, if any, and the version that is served now.

    Raises:
      PipelineError: the version does not exist, or its files are not those that were pushed.
    """
    folder = workspace.serving(name)
    if not folder.is_dir():
        raise PipelineError(f"{folder} contains no served version.")
    with version_folders.exclusively(folder):
        served = list(version_folders.find(folder))
        before = served[-1] if served else None
        if version is None:
            version = _before(folder)
            if version is None:
                raise PipelineError(
                    f"{folder} contains no other model before version {before}; `mnist-tfx models"
                    f"{workspace.options(name)}` lists all."
                    if served
                    else f"{folder} contains no served version."
                )
        _check_files(workspace, folder, version)
        try:
            version_folders.serve(folder, version)
        except KeyError:
            known = [*served, *version_folders.find_withdrawn(folder)]
            raise PipelineError(
                f"{folder} contains no version {version}; the versions are "
                f"{', '.join(map(str, sorted(known))) or 'none'}."
            ) from None
    return before, version


def _check_files(workspace: Workspace, base_path: Path, version: int) -> None:
    folder = {**version_folders.find(base_path), **version_folders.find_withdrawn(base_path)}
    push = pushes.find(workspace).get(str(base_path / str(version)))
    if push and version in folder and not push.is_in(folder[version]):
        raise PipelineError(
            f"the files of {folder[version]} differ from those that were pushed; run `mnist-tfx "
            f"doctor --repair{workspace.options()}`."
        )


def _before(folder: Path) -> int | None:
    """The newest version before the served one with other files than it."""
    newest_first = list(version_folders.find(folder).items())[::-1]
    digests = ((version, version_folders.digest(path)) for version, path in newest_first)
    _, served = next(digests, (0, ""))
    return next((version for version, found in digests if found != served), None)


class _Origins:
    """The origins of pushed versions, from ML Metadata."""

    def __init__(self, lineage: Lineage):
        self._lineage = lineage
        self._pushes = {  # of several pushes that led to a version, the first copied it
            push.custom_properties[properties.PUSHED_DESTINATION].string_value: push
            for push in reversed(lineage.artifacts("PushedModel"))
        }

    def of(self, place: str) -> dict[str, Any]:
        """The fields of a Release of the version in a folder."""
        push = self._pushes.get(place)
        if push is None:
            return {}
        lineage = self._lineage
        evaluated = lineage.inputs(
            lineage.producer(push.custom_properties[properties.BLESSING_ID].int_value)
        )
        return {
            "pushed_at": datetime.fromtimestamp(push.create_time_since_epoch / 1000, UTC),
            "data_digest": self._data_digest(evaluated.get("examples")),
            "champion": self._champion(push, evaluated.get("baseline_model")),
        }

    def _data_digest(self, evaluated: int | None) -> str | None:
        """The digest of the ingested data that the evaluated examples were made from."""
        if evaluated is None:
            return None
        lineage = self._lineage
        ingested = lineage.inputs(lineage.producer(evaluated)).get("examples", evaluated)
        recorded = lineage.artifact(ingested).custom_properties
        return recorded[properties.FINGERPRINT].string_value or None

    def _champion(
        self, push: metadata_store_pb2.Artifact, baseline_model: int | None
    ) -> int | None:
        """The newest version of the baseline model among the versions before this push."""
        versions = [
            int(place.rpartition("/")[2])
            for place, other in self._pushes.items()
            if other.custom_properties[properties.MODEL_ID].int_value == baseline_model
            and other.id < push.id
            and place
        ]
        return max(versions, default=None) if baseline_model is not None else None


def _result(record: RunRecord) -> dict[str, Any]:
    """The fields of a Release from the record of a run."""
    outcome = record.outcome
    assert outcome is not None
    worst = outcome.worst_digit
    return {
        "run_id": record.run_id,
        "accuracy": outcome.accuracy,
        "loss": outcome.loss,
        "accuracy_change": outcome.accuracy_change,
        "worst_digit": worst,
        "worst_digit_accuracy": outcome.digit_accuracy[worst],
    }
