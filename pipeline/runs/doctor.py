"""Finds problems of this machine and of a workspace, with a repair if a safe one exists."""

from __future__ import annotations

import itertools
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from components.names import artifact_properties as properties
from pipeline.runs import recovery
from pipeline.runs.lineage import Lineage, open_store
from pipeline.runs.workspace import Workspace
from pipeline.settings.errors import PipelineError
from serving import version_folders

_MIN_FREE_DISK_GIB: Final = 1.0
_MIN_MEMORY_GIB: Final = 4.0
_MIN_OPEN_FILES: Final = 256
_GIB: Final = 2**30


class Finding(NamedTuple):
    """Something that is wrong."""

    problem: str
    """What is wrong, in one sentence."""

    advice: str
    """What the repair does; without a repair, what the user can do."""

    repair: Callable[[], object] | None = None
    """None if the user must act."""


def examine(workspace: Workspace) -> Iterator[Finding]:
    """Checks the machine, then the workspace. The caller holds the lock of an existing workspace.

    A finding can be repaired before the next one is requested.
    """
    yield from _machine(workspace.root)
    if workspace.exists:
        yield from _records(workspace)
        yield from _metadata(workspace)
        yield from _artifacts(workspace)
        yield from _serving(workspace)


def _machine(root: Path) -> Iterator[Finding]:
    place = next(path for path in (root, *root.parents) if path.exists())
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


def _records(workspace: Workspace) -> Iterator[Finding]:
    for path in workspace.damaged_records():
        new = path.with_suffix(".damaged")
        yield Finding(
            f"the record {path} is damaged.",
            f"rename it to {new.name}; `status` lists the run no longer, and its log stays",
            lambda path=path, new=new: path.replace(new),  # type: ignore[misc]
        )


def _metadata(workspace: Workspace) -> Iterator[Finding]:
    try:
        workspace.check_metadata()
    except PipelineError as error:
        aside = workspace.root / f"set-aside-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        yield Finding(
            str(error),
            f"move it and the artifacts to {aside}; the next run starts without them, and without "
            "a champion",
            lambda: _set_aside(workspace, aside),
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
            f"{count} executions never ended, because their run was killed.",
            "mark them as failed and remove their folders, as the next run does",
            lambda: recovery.recover(store, workspace),
        )


def _set_aside(workspace: Workspace, aside: Path) -> None:
    aside.mkdir()
    for path in (workspace.metadata, workspace.artifacts):
        if path.exists():
            path.rename(aside / path.name)


def _artifacts(workspace: Workspace) -> Iterator[Finding]:
    from pipeline.runs import record_files

    for folder, split in _empty_splits(workspace):
        component = folder.relative_to(workspace.artifacts).parts[0]
        yield Finding(
            f"{folder} has no records in the split {split}.",
            f"remove the folder; the next run that needs it runs {component} again",
            lambda folder=folder: shutil.rmtree(folder, ignore_errors=True),  # type: ignore[misc]
        )
    damaged = record_files.find_damaged(workspace.artifacts)
    # artifacts/COMPONENT/OUTPUT/EXECUTION/...
    grouped = itertools.groupby(
        damaged,
        lambda file: workspace.artifacts.joinpath(
            *file.path.relative_to(workspace.artifacts).parts[:3]
        ),
    )
    for folder, files in grouped:
        listed = "; ".join(f"{file.path} ({file.reason})" for file in files)
        component = folder.relative_to(workspace.artifacts).parts[0]
        yield Finding(
            f"these records are damaged: {listed}.",
            f"remove {folder}; the next run that needs it runs {component} again",
            lambda folder=folder: shutil.rmtree(folder),  # type: ignore[misc]
        )


def _empty_splits(workspace: Workspace) -> Iterator[tuple[Path, str]]:
    """The splits of examples whose files were deleted; a missing folder is made again by a run."""
    lineage = _lineage(workspace)
    for examples in lineage.artifacts("Examples") if lineage else []:
        folder = Path(examples.uri)
        if not folder.is_relative_to(workspace.artifacts) or not folder.is_dir():
            continue
        for split in json.loads(examples.properties["split_names"].string_value or "[]"):
            files = folder.glob(f"Split-{split}/*")
            if not any(path.stat().st_size for path in files):
                yield folder, split


def _serving(workspace: Workspace) -> Iterator[Finding]:
    digests = _pushed_digests(workspace)
    for base_path in workspace.serving_folders():
        if left := version_folders.find_left_over(base_path):
            yield Finding(
                f"a killed process left {', '.join(map(str, left))}.",
                "remove it",
                lambda base_path=base_path: version_folders.sweep(base_path),  # type: ignore[misc]
            )
        for version, folder in version_folders.find(base_path).items():
            expected = digests.get(str(folder))
            if expected and version_folders.digest(folder) != expected:
                yield Finding(
                    f"the files of version {version} in {base_path} differ from those that were "
                    "pushed.",
                    "rename it, so that it is not served; the next run pushes its model again if "
                    "it was the newest",
                    lambda base_path=base_path, version=version: version_folders.set_aside(  # type: ignore[misc]
                        base_path, version
                    ),
                )


def _pushed_digests(workspace: Workspace) -> dict[str, str]:
    """The digests of pushed versions, by folder; empty without metadata."""
    lineage = _lineage(workspace)
    if lineage is None:
        return {}
    pushes = (push.custom_properties for push in lineage.artifacts("PushedModel"))
    return {
        push[properties.PUSHED_DESTINATION].string_value: push[
            properties.PUSHED_DIGEST
        ].string_value
        for push in pushes
    }


def _lineage(workspace: Workspace) -> Lineage | None:
    """The metadata; None if there is none, or if it is damaged, which is a finding of its own."""
    try:
        return Lineage.of_workspace(workspace)
    except PipelineError:
        return None
