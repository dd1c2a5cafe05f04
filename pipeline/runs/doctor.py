"""Finds problems of this machine and of a workspace, with a repair if a safe one exists."""

from __future__ import annotations

import itertools
import os
import resource
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from ml_metadata.proto import metadata_store_pb2

from pipeline.runs import output_files, pushes, recovery
from pipeline.runs.lineage import Lineage, open_store
from pipeline.runs.workspace import Workspace
from pipeline.settings.errors import PipelineError
from serving import version_folders

_MIN_FREE_DISK_GIB: Final = 1.0
_MIN_MEMORY_GIB: Final = 4.0
_MIN_OPEN_FILES: Final = 256
_GIB: Final = 2**30
_SET_ASIDE: Final = "set-aside-"
_DAMAGED_RECORD: Final = ".damaged"


class Finding(NamedTuple):
    """Something that is wrong."""

    problem: str
    """What is wrong, in one sentence."""

    advice: str
    """What the repair does; without a repair, what the user can do."""

    repair: Callable[[], object] | None = None
    """None if the user must act."""


class Examination:
    """Checks the machine, then the workspace. The caller holds the lock of an existing workspace.

    Args:
      workspace: the workspace; it may not exist yet.
    """

    def __init__(self, workspace: Workspace):
        self._workspace = workspace
        self._aside = workspace.root / f"{_SET_ASIDE}{datetime.now(UTC):%Y%m%d-%H%M%S}"
        self._checked: Counter[str] = Counter()

    def findings(self) -> Iterator[Finding]:
        """What is wrong. A finding can be repaired before the next one is requested."""
        yield from _machine(self._workspace.root)
        if self._workspace.exists:
            yield from self._runs()
            yield from self._metadata()
            yield from self._artifacts()
            yield from self._versions()

    def summary(self) -> list[str]:
        """What was checked, and what repairs set aside; after all findings."""
        counts = ", ".join(f"{name} {count}" for name, count in self._checked.items())
        aside = [
            *self._workspace.root.glob(f"{_SET_ASIDE}*"),
            *itertools.chain(*map(version_folders.find_damaged, self._workspace.serving_folders())),
        ]
        lines = [f"Checked: {counts}."] if counts else []
        if aside:
            listed = ", ".join(map(str, aside))
            lines.append(f"Set aside by a repair; can be deleted: {listed}.")
        return lines

    def _runs(self) -> Iterator[Finding]:
        damaged = self._workspace.damaged_records()
        lineage = self._lineage()
        started = lineage.runs() if lineage else []  # others ended before their first component
        for folder in sorted(self._workspace.root.glob("runs/*/")):
            self._checked["runs"] += 1
            path = folder / "run.json"
            new = path.with_suffix(_DAMAGED_RECORD)
            if path in damaged:
                yield Finding(
                    f"the record {path} is damaged.",
                    f"rename it to {new.name}; `status` no longer lists the run; its log is kept",
                    partial(path.replace, new),
                )
            elif folder.name in started and not (path.exists() or new.exists()):
                yield Finding(
                    f"the record {path} is missing, so `status` does not list the run.",
                    f"delete {folder} when you no longer need its log",
                )

    def _metadata(self) -> Iterator[Finding]:
        workspace = self._workspace
        try:
            damage = workspace.metadata_damage()
        except PipelineError as error:
            yield Finding(str(error), "make it readable and writable for this user")
            return
        if damage:
            yield Finding(
                f"{workspace.metadata} is damaged ({damage}); the pushed models are not.",
                f"move it and the artifacts to {self._aside}; the next run starts without them, "
                "and without a champion",
                partial(
                    _set_aside, workspace, self._aside, workspace.metadata, workspace.artifacts
                ),
            )
            return
        if not workspace.has_metadata:
            return
        try:
            Lineage(open_store(workspace, is_read_only=True)).check_place(workspace)
        except PipelineError as error:
            yield Finding(str(error), "move the folder back")
        store = open_store(workspace, is_read_only=False)
        if count := len(recovery.never_ended(store)):
            yield Finding(
                f"executions that never ended, because their run was killed: {count}.",
                "mark them as failed and remove their folders, as the next run does",
                partial(recovery.recover, store, workspace),
            )

    def _artifacts(self) -> Iterator[Finding]:
        for artifact in self._live_artifacts():
            if not output_files.is_recorded(artifact):
                self._checked["artifacts without recorded digests"] += 1
                continue
            self._checked["artifacts"] += 1
            # artifacts/COMPONENT/OUTPUT/EXECUTION/...
            component, *place = Path(artifact.uri).relative_to(self._workspace.artifacts).parts
            folder = self._workspace.artifacts.joinpath(component, *place[:2])
            if damaged := output_files.find_damaged(artifact):
                aside = self._aside
                yield Finding(
                    f"files of {component} are damaged: {'; '.join(map(str, damaged))}.",
                    f"move {folder} to {aside}; the next run that needs it makes it again",
                    partial(_set_aside, self._workspace, aside, folder),
                )

    def _live_artifacts(self) -> Iterator[metadata_store_pb2.Artifact]:
        """The artifacts whose folders exist in the workspace."""
        lineage = self._lineage()
        for artifact in lineage.artifacts() if lineage else []:
            folder = Path(artifact.uri)
            if folder.is_relative_to(self._workspace.artifacts) and folder.exists():
                yield artifact

    def _lineage(self) -> Lineage | None:
        """The metadata; None if there is none, or if it is damaged, which is its own finding."""
        try:
            return Lineage.of_workspace(self._workspace)
        except PipelineError:
            return None

    def _versions(self) -> Iterator[Finding]:
        known = pushes.find(self._workspace) if self._lineage() else {}
        for base_path in self._workspace.serving_folders():
            if left := version_folders.find_left_over(base_path):
                yield Finding(
                    f"a killed process left {', '.join(map(str, left))}.",
                    "remove it",
                    partial(version_folders.sweep, base_path),
                )
            withdrawn = version_folders.find_withdrawn(base_path)
            for version, folder in (*version_folders.find(base_path).items(), *withdrawn.items()):
                push = known.get(str(base_path / str(version)))
                if push is None:
                    self._checked["versions that no run here pushed"] += 1
                    continue
                self._checked["versions"] += 1
                if not push.is_in(folder):
                    yield _changed_version(folder, push)


def _changed_version(folder: Path, push: pushes.Push) -> Finding:
    problem = f"the files of {folder} differ from those that were pushed."
    if copy := push.intact_copy():
        return Finding(
            problem,
            f"rename it, and replace it with the copy in {copy}",
            partial(_change, folder, version_folders.restore, copy),
        )
    return Finding(
        problem,
        "rename it, so that it is not served; if it is the newest, the next run pushes its model "
        "again",
        partial(_change, folder, version_folders.set_aside),
    )


def _change(folder: Path, change: Callable[..., object], *arguments: Path) -> None:
    """Changes a version while no roll-back does."""
    with version_folders.exclusively(folder.parent):
        if folder.exists():  # else a roll-back renamed it meanwhile; the next examination finds it
            change(folder, *arguments)


def _machine(root: Path) -> Iterator[Finding]:
    place = next(path for path in (root, *root.parents) if path.exists())
    if not place.is_dir():
        yield Finding(f"{place} is not a folder.", "choose another one with --root")
        return
    free_gib = shutil.disk_usage(place).free / _GIB
    if free_gib < _MIN_FREE_DISK_GIB:
        yield Finding(
            f"{place} has {free_gib:.1f} GiB of free disk space; {_MIN_FREE_DISK_GIB:g} GiB are "
            "recommended.",
            "free some space, or choose another folder with --root",
        )
    if not os.access(place, os.W_OK):
        yield Finding(f"{place} is not writable.", "choose another folder with --root")
    memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GIB
    if memory_gib < _MIN_MEMORY_GIB:
        yield Finding(
            f"this machine has {memory_gib:.1f} GiB of memory; {_MIN_MEMORY_GIB:g} GiB are "
            "recommended.",
            "use a machine with more memory",
        )
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < _MIN_OPEN_FILES:
        yield Finding(
            f"a process may open {files} files; {_MIN_OPEN_FILES} are recommended.",
            f"run `ulimit -n {_MIN_OPEN_FILES}` in this shell",
        )


def _set_aside(workspace: Workspace, aside: Path, *paths: Path) -> None:
    """Moves parts of a workspace to the same places below another folder."""
    for path in paths:
        if path.exists():
            new = aside / path.relative_to(workspace.root)
            new.parent.mkdir(parents=True, exist_ok=True)
            path.rename(new)
