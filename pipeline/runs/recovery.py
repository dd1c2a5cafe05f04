"""Removes what a killed run left in a workspace. The caller holds the workspace's lock."""

from __future__ import annotations

import shutil

import ml_metadata as mlmd
from absl import logging
from ml_metadata.proto import metadata_store_pb2

from pipeline.runs.workspace import Workspace
from serving import version_folders

_State = metadata_store_pb2.Execution


def recover(store: mlmd.MetadataStore, workspace: Workspace) -> None:
    """Marks executions that never ended as failed, and removes their folders.

    It also removes versions that were never completed, and TFX's working folders. An execution
    publishes its artifacts at its end, so none of them refers to a removed folder.
    """
    for execution in never_ended(store):
        logging.warning("Execution %d never ended; it is marked as failed.", execution.id)
        _remove(workspace, f"*/*/{execution.id}", f"*/.system/*/{execution.id}")
        execution.last_known_state = _State.FAILED
        store.put_executions([execution])
    _remove(workspace, "*/.system/stateful_working_dir/*")
    for base_path in workspace.serving_folders():
        for removed in version_folders.sweep(base_path):
            logging.warning("Removed %s, which a killed process left.", removed)


def never_ended(store: mlmd.MetadataStore) -> list[metadata_store_pb2.Execution]:
    """The executions that started and have no end; no run may be going on."""
    return [
        execution
        for execution in store.get_executions()
        if execution.last_known_state in (_State.NEW, _State.RUNNING)
    ]


def _remove(workspace: Workspace, *patterns: str) -> None:
    for pattern in patterns:
        for folder in workspace.artifacts.glob(pattern):
            shutil.rmtree(folder, ignore_errors=True)
