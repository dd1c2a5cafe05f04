"""The folder of local runs: its layout, the records of runs, and the lock."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from components.names.node_ids import NodeId
from pipeline.runs.events import NodeChanged, Outcome
from pipeline.settings.errors import ExitCode, PipelineError, WorkspaceBusyError
from serving import version_folders


class RunRecord(BaseModel):
    """The record of a run, `run.json` in its folder."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    pipeline: str
    seconds: float
    exit_code: int
    message: str
    """Why the run did not end with a pushed model; empty if it did."""

    nodes: tuple[NodeChanged, ...]
    outcome: Outcome | None

    @property
    def result(self) -> str:
        """One word: pushed, cached (the push was), rejected or failed."""
        if self.exit_code == ExitCode.OK:
            pushes = [node for node in self.nodes if node.node == NodeId.ATOMIC_PUSHER]
            return "pushed" if any(node.state == "done" for node in pushes) else "cached"
        return {ExitCode.REJECTED: "rejected"}.get(ExitCode(self.exit_code), "failed")


@dataclass(frozen=True)
class Workspace:
    """The folder: metadata, artifacts, pushed models, and a folder for each run.

    metadata.sqlite, artifacts/COMPONENT/..., serving_model/NAME/VERSION/, runs/RUN/.
    """

    root: Path

    @property
    def metadata(self) -> Path:
        """The SQLite file of ML Metadata."""
        return self.root / "metadata.sqlite"

    @property
    def artifacts(self) -> Path:
        """The pipeline root: a folder for each component."""
        return self.root / "artifacts"

    def serving(self, name: str) -> Path:
        """The folder that a model server polls for the model of this pipeline."""
        return self.root / "serving_model" / name

    def served_versions(self, name: str) -> list[int]:
        """The pushed versions of a model, oldest first."""
        return list(version_folders.find(self.serving(name)))

    def run_folder(self, run_id: str) -> Path:
        """The folder of a run's logs and record; created if it is missing.

        Raises:
          PipelineError: it cannot be created.
        """
        folder = self.root / "runs" / run_id
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PipelineError(
                f"cannot create {folder} ({error.strerror}); choose another folder with --root."
            ) from error
        return folder

    def save(self, record: RunRecord) -> None:
        """Writes the record of a run, complete or not at all."""
        path = self.run_folder(record.run_id) / "run.json"
        complete = path.with_suffix(".tmp")
        complete.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
        complete.replace(path)

    def records(self) -> list[RunRecord]:
        """The records of all runs that ended, oldest first."""
        paths = sorted(self.root.glob("runs/*/run.json"))
        return [RunRecord.model_validate_json(path.read_bytes()) for path in paths]

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """A context that excludes other runs: SQLite and the champion allow one at a time.

        Raises:
          WorkspaceBusyError: another run is using the workspace.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise WorkspaceBusyError(
                    f"another run is using {self.root}; wait for it to end, or choose another "
                    "folder with --root."
                ) from error
            yield
