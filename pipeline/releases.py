"""The pushed versions of a model: which is served, what is known of each, and going back to one.

Which versions there are is read from the serving folder, since that is what a server does;
where they came from, from ML Metadata; how they did, from the records of the runs.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, Literal

from ml_metadata.proto import metadata_store_pb2
from pydantic import BaseModel, ConfigDict

from pipeline.errors import PipelineError
from pipeline.lineage import Lineage
from pipeline.workspace import RunRecord, Workspace
from serving import version_folders

# What components/atomic_pusher.py, which imports TFX, writes on a PushedModel.
_PUSHED_DESTINATION: Final = "pushed_destination"
_MODEL_ID: Final = "model_id"
_BLESSING_ID: Final = "blessing_id"
_FINGERPRINT: Final = "input_fingerprint"  # TFX's, on what an ExampleGen made


State = Literal["served", "kept", "withdrawn"]
"""`withdrawn` by a roll-back to an older one."""


class Release(BaseModel):
    """One pushed version. What is not known is None."""

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
    """The version that it was compared with, and beat."""


def releases(workspace: Workspace, name: str) -> list[Release]:
    """The pushed versions of a model, the newest first."""
    folder = workspace.serving(name)
    served = version_folders.find(folder)
    withdrawn = version_folders.find_withdrawn(folder)
    runs = {  # the first that pushed a version: later ones may have found it in the cache
        record.outcome.pushed: record
        for record in reversed(workspace.records())
        if record.outcome and record.outcome.pushed
    }
    origins = _Origins(Lineage.of_file(workspace.metadata)) if workspace.metadata.exists() else None
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
    """Makes a version the served one, without training: the one before it where none is named.

    Returns:
      The version that was served before, if any, and the one that is now.

    Raises:
      PipelineError: there is no such version.
      WorkspaceBusyError: a run is using the workspace.
    """
    folder = workspace.serving(name)
    with workspace.exclusively():
        served = list(version_folders.find(folder))
        before = served[-1] if served else None
        if version is None:
            if len(served) < 2:
                raise PipelineError(
                    f"there is no version before {before} in {folder}: `mnist-tfx models` lists "
                    "what there is."
                    if served
                    else f"no version is served from {folder}."
                )
            version = served[-2]
        try:
            version_folders.serve(folder, version)
        except KeyError:
            known = [*served, *version_folders.find_withdrawn(folder)]
            raise PipelineError(
                f"there is no version {version} in {folder}: one of "
                f"{', '.join(map(str, sorted(known))) or 'none'} is expected."
            ) from None
    return before, version


class _Origins:
    """Where pushed versions came from."""

    def __init__(self, lineage: Lineage):
        self._lineage = lineage
        self._pushes = {
            push.custom_properties[_PUSHED_DESTINATION].string_value: push
            for push in lineage.artifacts("PushedModel")
        }

    def of(self, place: str) -> dict[str, Any]:
        """The fields of a Release for the version in a folder."""
        push = self._pushes.get(place)
        if push is None:
            return {}
        lineage = self._lineage
        evaluated = lineage.inputs(lineage.producer(push.custom_properties[_BLESSING_ID].int_value))
        return {
            "pushed_at": datetime.fromtimestamp(push.create_time_since_epoch / 1000, UTC),
            "data_digest": self._data_digest(evaluated.get("examples")),
            "champion": self._champion(push, evaluated.get("baseline_model")),
        }

    def _data_digest(self, evaluated: int | None) -> str | None:
        """Of the examples that the evaluated ones, corrupted or not, were made from."""
        if evaluated is None:
            return None
        lineage = self._lineage
        ingested = lineage.inputs(lineage.producer(evaluated)).get("examples", evaluated)
        properties = lineage.artifact(ingested).custom_properties
        return properties[_FINGERPRINT].string_value or None

    def _champion(
        self, push: metadata_store_pb2.Artifact, baseline_model: int | None
    ) -> int | None:
        """The newest version of the model that was the baseline, of those before this push."""
        versions = [
            int(place.rpartition("/")[2])
            for place, other in self._pushes.items()
            if other.custom_properties[_MODEL_ID].int_value == baseline_model
            and other.id < push.id
            and place
        ]
        return max(versions, default=None) if baseline_model is not None else None


def _result(record: RunRecord) -> dict[str, Any]:
    """The fields of a Release that a run's record has."""
    outcome = record.outcome
    assert outcome is not None
    worst = outcome.worst_digit
    return {
        "run_id": record.run_id,
        "accuracy": outcome.accuracy,
        "loss": outcome.loss,
        "worst_digit": worst,
        "worst_digit_accuracy": outcome.digit_accuracy[worst],
    }
