"""The folder of local runs: its layout, its format, and the lock."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.runs import run_record, workspace_lock
from pipeline.runs.run_record import RunRecord
from pipeline.settings import defaults
from pipeline.settings.errors import PipelineError, WorkspaceBusyError
from serving import version_folders

FORMAT: Final = 1
"""The format of a workspace: its layout, run.json, and the properties in ML Metadata.

A release reads the formats up to its own. Raise it with a change that an older release would read
wrongly."""

# The tables of ML Metadata that hold what runs wrote.
_TABLES: Final = {
    *("Artifact", "ArtifactProperty", "Association", "Attribution", "Context", "ContextProperty"),
    *("Event", "EventPath", "Execution", "ExecutionProperty", "MLMDEnv", "Type", "TypeProperty"),
}
_LONGEST_ROOT: Final = 480  # bytes; SQLite opens files with paths of up to 511


@dataclass(frozen=True)
class Workspace:
    """The folder: metadata, artifacts, pushed models, and a folder for each run.

    format, metadata.sqlite, artifacts/COMPONENT/..., serving_model/NAME/VERSION/, runs/RUN/, and
    tmp/ while a run is using it.
    """

    root: Path

    @property
    def metadata(self) -> Path:
        """The SQLite file of ML Metadata."""
        return self.root / "metadata.sqlite"

    @property
    def has_metadata(self) -> bool:
        """Whether a run has written metadata; one that was killed at once leaves an empty file."""
        return self.metadata.exists() and self.metadata.stat().st_size > 0

    @property
    def exists(self) -> bool:
        """Whether the folder is a workspace: a run has written to it."""
        return self.metadata.exists() or (self.root / "runs").is_dir()

    @property
    def artifacts(self) -> Path:
        """The pipeline root: a folder for each component."""
        return self.root / "artifacts"

    def serving(self, name: str) -> Path:
        """The folder that a model server polls for the model of this pipeline."""
        return self.root / "serving_model" / name

    def serving_folders(self) -> list[Path]:
        """The folders of all models."""
        return [path for path in self.root.glob("serving_model/*") if path.is_dir()]

    def served_versions(self, name: str) -> list[int]:
        """The pushed versions of a model, oldest first."""
        return list(version_folders.find(self.serving(name)))

    def check_pushed(self, name: str) -> None:
        """Raises PipelineError unless a version of the model is served."""
        if self.served_versions(name):
            return
        others = [path.name for path in self.serving_folders() if version_folders.find(path)]
        if others:
            advice = f"it contains {', '.join(sorted(others))}; choose one with --name."
        else:
            advice = "run `mnist-tfx run` first, or choose another folder with --root."
        raise PipelineError(f"{self.root} contains no pushed model {name}; {advice}")

    def find_record(self, run_id: str) -> RunRecord:
        """The record of a run.

        Args:
          run_id: its id, or the beginning of it.

        Raises:
          PipelineError: there is no such run, or there are several.
        """
        found = [record for record in self.records() if record.run_id.startswith(run_id)]
        if len(found) == 1:
            return found[0]
        reason = f"{len(found)} runs that begin with {run_id}" if found else f"no run {run_id}"
        raise PipelineError(
            f"{self.root} contains {reason}; `mnist-tfx status{self.options()}` lists all."
        )

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
        _write(path, record.model_dump_json(indent=1) + "\n")

    def records(self) -> list[RunRecord]:
        """The records of all runs, oldest first; a damaged one counts as failed.

        Raises:
          PipelineError: a newer release wrote the workspace.
        """
        self._check_format()
        return [
            run_record.read(path) or run_record.of_damaged_file(path)
            for path in self._record_files()
        ]

    def damaged_records(self) -> list[Path]:
        """The files of records that cannot be read."""
        return [path for path in self._record_files() if run_record.read(path) is None]

    def _record_files(self) -> list[Path]:
        return sorted(self.root.glob("runs/*/run.json"))

    @property
    def is_in_use(self) -> bool:
        """Whether a run is using the workspace now."""
        return workspace_lock.is_held(self._lock)

    def check_usable(self) -> None:
        """Checks that a run can use the workspace.

        Raises:
          PipelineError: its path is too long, or a newer release wrote it.
          WorkspaceBusyError: another run is using it now.
        """
        self._check_path()
        self._check_format()
        if self.is_in_use:
            raise self._busy()

    def check_metadata(self) -> None:
        """Checks the file of ML Metadata, if there is one.

        Raises:
          PipelineError: it is damaged, or cannot be read, or a newer release wrote it.
        """
        if damage := self.metadata_damage():
            raise PipelineError(
                f"{self.metadata} is damaged ({damage}); the pushed models are not. "
                f"Run `mnist-tfx doctor --repair{self.options()}`, which sets it aside with the "
                "artifacts; the next run starts without them."
            )

    def metadata_damage(self) -> str | None:
        """What is damaged in the file of ML Metadata; None if nothing is, or there is no file.

        Raises:
          PipelineError: it cannot be read, or a newer release wrote it.
        """
        self._check_format()
        if not self.has_metadata:
            has_artifacts = any(self.artifacts.glob("*/*/[0-9]*"))
            return "it is missing or empty, and there are artifacts" if has_artifacts else None
        try:
            # Not read-only: SQLite first undoes the transaction of a killed process.
            uri = f"{self.metadata.as_uri()}?mode=rw"
            with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
                (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
                if found == "ok" and (missing := _TABLES - tables):
                    found = f"it has no table {min(missing)}"
        except sqlite3.OperationalError as error:
            raise PipelineError(f"cannot read {self.metadata}: {error}.") from error
        except sqlite3.DatabaseError as error:
            found = str(error)
        return None if found == "ok" else " ".join(found.split())

    @contextmanager
    def temporary_folder(self) -> Iterator[Path]:
        """A context with an empty folder for the run that holds the lock; removed at the end."""
        folder = self.root / "tmp"
        shutil.rmtree(folder, ignore_errors=True)  # a killed run left it
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def exclusively(self) -> Iterator[int]:
        """A context that excludes other runs.

        SQLite and the choice of the champion do not support two runs at the same time.

        Returns:
          The file descriptor of the lock. A process that inherits it holds the lock, too.

        Raises:
          PipelineError: the path of the workspace is too long, it cannot be written, or a newer
            release wrote it.
          WorkspaceBusyError: another run is using the workspace.
        """
        self._check_path()
        with contextlib.ExitStack() as stack:
            try:
                self.root.mkdir(parents=True, exist_ok=True)
                descriptor = stack.enter_context(workspace_lock.holding(self._lock))
            except BlockingIOError as error:
                raise self._busy() from error
            except OSError as error:
                raise PipelineError(
                    f"cannot write to {self.root} ({error.strerror}); choose another folder with "
                    "--root."
                ) from error
            self._check_format()
            if not self._format.exists():
                _write(self._format, f"{FORMAT}\n")
            yield descriptor

    def _check_path(self) -> None:
        length = len(os.fsencode(self.root))
        if length > _LONGEST_ROOT:
            raise PipelineError(
                f"the path of the workspace has {length} bytes, and at most {_LONGEST_ROOT} are "
                f"supported; choose a shorter one with --root ({str(self.root)[:60]}...)."
            )

    def _check_format(self) -> None:
        if not self._format.exists():  # a new workspace, or one of the first release
            return
        found = self._format.read_text(encoding="utf-8", errors="replace").strip()
        if not (found.isdecimal() and int(found) <= FORMAT):
            advice = (
                "Install a newer one, or choose another folder with --root."
                if found.isdecimal()
                else f"If this release made the workspace, write {FORMAT} into the file."
            )
            raise PipelineError(
                f"{self._format} contains {found[:20]!r}; this release of mnist-tfx reads formats "
                f"up to {FORMAT}. {advice}"
            )

    @property
    def _format(self) -> Path:
        return self.root / "format"

    @property
    def _lock(self) -> Path:
        return self.root / ".lock"

    def _busy(self) -> WorkspaceBusyError:
        return WorkspaceBusyError(
            f"another run is using {self.root}, or a command that maintains it; wait for its end, "
            "or choose another folder with --root."
        )

    def options(self, name: str | None = None) -> str:
        """The options of a command on this workspace; empty for the defaults."""
        chosen = [] if self.root == defaults.ROOT.resolve() else ["--root", str(self.root)]
        chosen += [] if name in (None, defaults.NAME) else ["--name", str(name)]
        return "".join(f" {shlex.quote(word)}" for word in chosen)


def _write(path: Path, text: str) -> None:
    """Writes a file, complete or not at all."""
    complete = path.with_suffix(".tmp")
    complete.write_text(text, encoding="utf-8")
    complete.replace(path)
