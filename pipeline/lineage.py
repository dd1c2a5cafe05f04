"""What ML Metadata knows of where an artifact came from. ML Metadata's own client, no TFX."""

from __future__ import annotations

from pathlib import Path

import ml_metadata as mlmd
from ml_metadata import errors as mlmd_errors
from ml_metadata.proto import metadata_store_pb2

_OUTPUTS = (metadata_store_pb2.Event.OUTPUT, metadata_store_pb2.Event.DECLARED_OUTPUT)


class Lineage:
    """The artifacts and executions in a store.

    Args:
      store: a connection to it.
    """

    def __init__(self, store: mlmd.MetadataStore):
        self._store = store

    @classmethod
    def of_file(cls, sqlite: Path) -> Lineage:
        """Of a local run's SQLite file, which is not written to."""
        config = metadata_store_pb2.ConnectionConfig()
        config.sqlite.filename_uri = str(sqlite)
        config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
        return cls(mlmd.MetadataStore(config))

    def artifacts(self, type_name: str) -> list[metadata_store_pb2.Artifact]:
        """All artifacts of a type; none where the store does not know it."""
        try:
            return list(self._store.get_artifacts_by_type(type_name))
        except mlmd_errors.NotFoundError:
            return []

    def artifact(self, artifact_id: int) -> metadata_store_pb2.Artifact:
        """One artifact."""
        (found,) = self._store.get_artifacts_by_id([artifact_id])
        return found

    def producer(self, artifact_id: int) -> int | None:
        """The id of the execution that made an artifact."""
        for event in self._store.get_events_by_artifact_ids([artifact_id]):
            if event.type in _OUTPUTS:
                return int(event.execution_id)
        return None

    def inputs(self, execution_id: int | None) -> dict[str, int]:
        """The ids of what an execution was given, by key; the last where there are several."""
        if execution_id is None:
            return {}
        return {
            event.path.steps[0].key: event.artifact_id
            for event in self._store.get_events_by_execution_ids([execution_id])
            if event.type not in _OUTPUTS and event.path.steps
        }
