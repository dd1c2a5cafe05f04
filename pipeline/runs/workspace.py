"""The folder of local runs: its layout, the records of runs, and the lock."""

from __future__ import annotations

import fcntl
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from components.names.node_ids import NodeId
from pipeline.runs.events import NodeChanged, Outcome
from pipeline.settings import defaults
from pipeline.settings.errors import ExitCode, PipelineError, WorkspaceBusyError
from serving import version_folders


class RunRecord(BaseModel):
    """The record of a run, `run.json` in its folder."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    pipeline: str
    seconds: float = 0
    exit_code: int | None = None
    """None from the start of the run to its end."""

    message: str = ""
    """Why the run did not end with a pushed model; empty if it did."""

    nodes: tuple[NodeChanged, ...] = ()
    outcome: Outcome | None = None

    @property
    def result(self) -> str:
        """One word: pushed, cached (the push was), rejected, failed or interrupted.

        A run without an end is "interrupted"; while it goes on, only the lock tells.
        """
        if self.exit_code == ExitCode.OK:
            pushes = [node for node in self.nodes if node.node == NodeId.ATOMIC_PUSHER]
            return "pushed" if any(node.state == "done" for node in pushes) else "cached"
        if self.exit_code in (None, ExitCode.INTERRUPTED):
            return "interrupted"
        return "rejected" if self.exit_code == ExitCode.REJECTED else "failed"


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
        """The records of all runs, oldest first; a damaged one counts as failed."""
        return [_read(path) for path in sorted(self.root.glob("runs/*/run.json"))]

    @property
    def is_in_use(self) -> bool:
        """Whether a run is using the workspace now."""
        if not self._lock.exists():
            return False
        with self._lock.open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def check_not_in_use(self) -> None:
        """Raises WorkspaceBusyError if a run is using the workspace now."""
        if self.is_in_use:
            raise self._busy()

    @contextmanager
    def exclusively(self) -> Iterator[int]:
        """A context that excludes other runs.

        SQLite and the choice of the champion do not support two runs at the same time.

        Returns:
          The file descriptor of the lock. A process that inherits it holds the lock, too.

        Raises:
          WorkspaceBusyError: another run is using the workspace.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with self._lock.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise self._busy() from error
            yield lock.fileno()

    @property
    def _lock(self) -> Path:
        return self.root / ".lock"

    def _busy(self) -> WorkspaceBusyError:
        return WorkspaceBusyError(
            f"another run is using {self.root}; wait for it to end, or choose another folder with "
            "--root."
        )

    def options(self, name: str | None = None) -> str:
        """The options of a command on this workspace; empty for the defaults."""
        chosen = [] if self.root == defaults.ROOT.resolve() else ["--root", str(self.root)]
        chosen += [] if name in (None, defaults.NAME) else ["--name", str(name)]
        return "".join(f" {shlex.quote(word)}" for word in chosen)


def _read(path: Path) -> RunRecord:
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except ValidationError:
        message = f"{path} is damaged; the log beside it shows what happened"
        run_id = path.parent.name
        return RunRecord(run_id=run_id, pipeline="-", exit_code=ExitCode.FAILED, message=message)
