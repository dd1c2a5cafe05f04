"""Removes old runs, and the artifacts that nothing refers to any longer: `mnist-tfx prune`.

Kept are the newest runs, the runs that pushed a version which still exists, everything that these
runs read or wrote, the lineage of these versions, and the newest accepted data of each span, which
later data is compared with. ML Metadata keeps its records, and marks removed artifacts as deleted.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ml_metadata.proto import metadata_store_pb2

from components.names import artifact_properties as properties
from pipeline.runs.lineage import Lineage, open_store
from pipeline.runs.lineage_graph import ArtifactNode
from pipeline.runs.workspace import Workspace
from serving import version_folders

_EXECUTION_DEPTH: Final = 3  # COMPONENT/OUTPUT/EXECUTION


@dataclass(frozen=True)
class Plan:
    """What can be removed."""

    runs: list[Path]
    """Folders of runs."""

    folders: list[Path]
    """Folders of artifacts."""

    kept: int
    """The number of runs that are kept."""

    pushed: int
    """How many of these are kept only because a version that they pushed still exists."""

    artifacts: list[int]
    """The ids of the artifacts to mark as deleted."""

    @property
    def size_bytes(self) -> int:
        """The size of all files in these folders."""
        files = (path for folder in (*self.runs, *self.folders) for path in folder.rglob("*"))
        return sum(path.stat().st_size for path in files if path.is_file())


def plan(workspace: Workspace, keep: int) -> Plan:
    """Determines what can be removed; removes nothing. The caller holds the workspace's lock.

    Args:
      workspace: the workspace.
      keep: the number of runs to keep.

    Raises:
      PipelineError: the metadata is damaged.
    """
    records = workspace.records()
    versions = _version_places(workspace)
    newest = {record.run_id for record in records[-keep:]}
    pushed = {r.run_id for r in records if r.outcome and r.outcome.pushed in versions} - newest
    lineage = Lineage.of_workspace(workspace)
    if lineage is None:
        old = [workspace.run_folder(r.run_id) for r in records if r.run_id not in newest | pushed]
        return Plan(old, [], len(records) - len(old), len(pushed), [])
    lineage.check_place(workspace)
    known = lineage.artifacts()
    artifacts = [a for a in known if a.state != metadata_store_pb2.Artifact.DELETED]
    pushes = _pushes(artifacts, versions)
    # Of a damaged or lost record, only ML Metadata knows whether the run refers to a version.
    damaged = {path.parent.name for path in workspace.damaged_records()}
    unread = set(lineage.runs()) - {r.run_id for r in records if r.run_id not in damaged}
    unread = {run for run in unread if pushes & _ids(lineage.of_run(run))}
    pushed |= unread & damaged - newest
    kept_runs = newest | pushed
    runs = [workspace.run_folder(r.run_id) for r in records if r.run_id not in kept_runs]
    kept = _lineage_of(lineage, pushes) | _newest_accepted(artifacts)
    kept = kept.union(*(_ids(lineage.of_run(run)) for run in kept_runs | unread))
    # Also of artifacts that are marked as deleted: a prune may have been killed.
    folders = _execution_folders(workspace, (a for a in known if a.id not in kept))
    folders -= _execution_folders(workspace, (a for a in artifacts if a.id in kept))
    removed = [artifact.id for artifact in artifacts if artifact.id not in kept]
    return Plan(runs, sorted(folders), len(kept_runs), len(pushed), removed)


def prune(workspace: Workspace, planned: Plan) -> None:
    """Removes what is planned. The caller holds the workspace's lock.

    A prune that is killed leaves artifacts that are marked, or whose folders are gone; the next one
    finishes it.
    """
    if planned.artifacts:
        store = open_store(workspace, is_read_only=False)
        # Read again: a query of a property adds an empty one to a message, which the store rejects.
        artifacts = store.get_artifacts_by_id(planned.artifacts)
        for artifact in artifacts:
            artifact.state = metadata_store_pb2.Artifact.DELETED
        store.put_artifacts(artifacts)
    for folder in (*planned.folders, *planned.runs):
        shutil.rmtree(folder)
    for folder in workspace.artifacts.glob("*/.system/executor_execution/*"):
        with contextlib.suppress(OSError):  # TFX leaves an empty one for each execution
            folder.rmdir()


def _ids(artifacts: Iterable[metadata_store_pb2.Artifact]) -> set[int]:
    return {artifact.id for artifact in artifacts}


def _version_places(workspace: Workspace) -> set[str]:
    """The folders of all versions, also of withdrawn ones, as they were pushed."""
    return {
        str(base_path / str(version))
        for base_path in workspace.serving_folders()
        for find in (version_folders.find, version_folders.find_withdrawn)
        for version in find(base_path)
    }


def _execution_folders(
    workspace: Workspace, artifacts: Iterable[metadata_store_pb2.Artifact]
) -> set[Path]:
    """The folders that exist for the outputs of executions.

    An output of several artifacts has folders within that. Other files in the workspace are the
    user's.
    """
    folders = set()
    for artifact in artifacts:
        path = Path(artifact.uri)
        if path.is_relative_to(workspace.artifacts):
            parts = path.relative_to(workspace.artifacts).parts[:_EXECUTION_DEPTH]
            folder = workspace.artifacts.joinpath(*parts)
            if len(parts) == _EXECUTION_DEPTH and folder.is_dir():
                folders.add(folder)
    return folders


def _pushes(artifacts: Iterable[metadata_store_pb2.Artifact], versions: set[str]) -> set[int]:
    return {
        artifact.id
        for artifact in artifacts
        if artifact.custom_properties[properties.PUSHED_DESTINATION].string_value in versions
    }


def _lineage_of(lineage: Lineage, pushes: set[int]) -> set[int]:
    nodes = (node for push in pushes for node in lineage.ancestry(push).nodes.values())
    return {node.id for node in nodes if isinstance(node, ArtifactNode)}


def _newest_accepted(artifacts: Sequence[metadata_store_pb2.Artifact]) -> set[int]:
    """The newest acceptance of each span, with its examples and statistics."""
    spans = {a.id: a.custom_properties[properties.SPAN].int_value for a in artifacts}
    newest: dict[int, set[int]] = {}
    for acceptance in sorted(artifacts, key=lambda artifact: artifact.id):
        recorded = acceptance.custom_properties
        if properties.EXAMPLES_ID in recorded:
            examples = recorded[properties.EXAMPLES_ID].int_value
            statistics = recorded[properties.STATISTICS_ID].int_value
            newest[spans.get(examples, 0)] = {acceptance.id, examples, statistics}
    return set().union(*newest.values())
