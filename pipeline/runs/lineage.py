"""The lineage of an artifact in ML Metadata. It uses ML Metadata's own client, not TFX.

ML Metadata's `get_lineage_subgraph` needs queries that version 1.21 no longer supports ("ZetaSQL
dependency removed"); the graph is therefore walked here, event by event.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import ml_metadata as mlmd
from ml_metadata import errors as mlmd_errors
from ml_metadata.proto import metadata_store_pb2

from components.names import artifact_properties as properties
from pipeline.runs.lineage_graph import (
    COMPARED,
    PRODUCED,
    READ,
    ArtifactNode,
    Edge,
    ExecutionNode,
    FileNode,
    Graph,
)
from pipeline.runs.workspace import Workspace
from pipeline.settings.errors import PipelineError

_OUTPUTS = (metadata_store_pb2.Event.OUTPUT, metadata_store_pb2.Event.DECLARED_OUTPUT)


def open_store(workspace: Workspace, *, is_read_only: bool) -> mlmd.MetadataStore:
    """Connects to the metadata of local runs."""
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(workspace.metadata)
    if is_read_only:
        config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    return mlmd.MetadataStore(config)


class Lineage:
    """The artifacts and executions in a store.

    Args:
      store: a connection to it.
    """

    def __init__(self, store: mlmd.MetadataStore):
        self._store = store

    @classmethod
    def of_workspace(cls, workspace: Workspace) -> Lineage | None:
        """Opens the metadata of local runs, read-only; None if there is none.

        Raises:
          PipelineError: it is damaged.
        """
        workspace.check_metadata()
        if not workspace.has_metadata:
            return None
        return cls(open_store(workspace, is_read_only=True))

    def artifacts(self, type_name: str | None = None) -> list[metadata_store_pb2.Artifact]:
        """All artifacts, or those of a type; none if the store does not know the type."""
        if type_name is None:
            return list(self._store.get_artifacts())
        try:
            return list(self._store.get_artifacts_by_type(type_name))
        except mlmd_errors.NotFoundError:
            return []

    def check_place(self, workspace: Workspace) -> None:
        """Checks that the artifacts are in a workspace: it may have been moved or copied.

        Raises:
          PipelineError: all artifacts are somewhere else.
        """
        places = [artifact.uri for artifact in self.artifacts()]
        if places and not any(Path(uri).is_relative_to(workspace.artifacts) for uri in places):
            raise PipelineError(
                f"{workspace.root} was moved or copied: its metadata names artifacts such as "
                f"{places[-1]}. Move it back to use it; a run here starts without them."
            )

    def runs(self) -> list[str]:
        """The ids of all runs, also of those without a record."""
        return [context.name for context in self._store.get_contexts_by_type("pipeline_run")]

    def of_run(self, run_id: str) -> list[metadata_store_pb2.Artifact]:
        """The artifacts that a run read or wrote, also if they came from the cache."""
        context = self._store.get_context_by_type_and_name("pipeline_run", run_id)
        return list(self._store.get_artifacts_by_context(context.id)) if context else []

    def origin_of_run(self, run_id: str) -> dict[str, str]:
        """What a run was made from: the properties FINGERPRINT of its data, and the parameters
        `configuration` and `code_digest` of its report; what is not known is missing."""
        context = self._store.get_context_by_type_and_name("pipeline_run", run_id)
        if context is None:
            return {}
        found: dict[str, str] = {}
        for artifact in self._store.get_artifacts_by_context(context.id):
            if properties.FINGERPRINT in artifact.custom_properties:
                value = artifact.custom_properties[properties.FINGERPRINT]
                found[properties.FINGERPRINT] = value.string_value
        for execution in self._store.get_executions_by_context(context.id):
            recorded = execution.custom_properties
            if "configuration" in recorded:
                for name in ("configuration", "code_digest"):
                    found[name] = recorded[name].string_value
        return found

    def made_by(
        self, pipeline: str, component: str, type_name: str
    ) -> list[metadata_store_pb2.Artifact]:
        """The output artifacts of a component, of a type that is not an input; the newest last."""
        context = self._store.get_context_by_type_and_name("node", f"{pipeline}.{component}")
        # The context also contains the inputs.
        found = self._store.get_artifacts_by_context(context.id) if context else []
        return sorted(
            (artifact for artifact in found if artifact.type == type_name),
            key=lambda artifact: artifact.id,
        )

    def artifact(self, artifact_id: int) -> metadata_store_pb2.Artifact:
        """One artifact.

        Raises:
          KeyError: no artifact has this id.
        """
        found = self._store.get_artifacts_by_id([artifact_id])
        if not found:
            raise KeyError(artifact_id)
        return found[0]

    def artifact_at(self, uri: str) -> metadata_store_pb2.Artifact:
        """The artifact whose URI is this path, or a folder above it.

        Raises:
          KeyError: there is no such artifact.
        """
        for place in (uri, *map(str, Path(uri).parents)):
            if found := self._store.get_artifacts_by_uri(place):
                return found[-1]
        raise KeyError(uri)

    def producer(self, artifact_id: int) -> int | None:
        """The id of the execution that produced an artifact; later ones found it in the cache."""
        events = self._store.get_events_by_artifact_ids([artifact_id])
        found = [int(event.execution_id) for event in events if event.type in _OUTPUTS]
        return min(found, default=None)

    def inputs(self, execution_id: int | None) -> dict[str, int]:
        """The ids of an execution's inputs, by key; of several under one key, the last."""
        return dict(self._inputs(execution_id)) if execution_id is not None else {}

    def ancestry(self, artifact_id: int) -> Graph:
        """The graph from an artifact back to the data files.

        It contains the artifacts that were only compared with (COMPARED), but not their lineage:
        every champion has an earlier champion.
        """
        graph = Graph(root=f"artifact:{artifact_id}")
        waiting = [artifact_id]
        while waiting:
            current = waiting.pop(0)
            key = f"artifact:{current}"
            if key in graph.nodes and graph.sources(key):
                continue
            artifact = self.artifact(current)
            graph.nodes[key] = _artifact_node(artifact)
            execution_id = self.producer(current)
            if execution_id is None:
                continue
            execution = f"execution:{execution_id}"
            graph.edges.append(Edge(source=execution, target=key, name=PRODUCED))
            if execution in graph.nodes:
                continue
            graph.nodes[execution] = self._execution_node(execution_id)
            for name, given in self._inputs(execution_id):
                graph.edges.append(Edge(source=f"artifact:{given}", target=execution, name=name))
                if name in COMPARED:
                    graph.nodes.setdefault(
                        f"artifact:{given}", _artifact_node(self.artifact(given))
                    )
                else:
                    waiting.append(given)
            for file in self._files(artifact, execution_id):
                graph.nodes[f"file:{file.id}"] = file
                edge = Edge(source=f"file:{file.id}", target=execution, name=READ)
                graph.edges.append(edge)
        return graph

    def _inputs(self, execution_id: int) -> Iterator[tuple[str, int]]:
        for event in self._store.get_events_by_execution_ids([execution_id]):
            if event.type not in _OUTPUTS and event.path.steps:
                yield event.path.steps[0].key, int(event.artifact_id)

    def _execution_node(self, execution_id: int) -> ExecutionNode:
        (execution,) = self._store.get_executions_by_id([execution_id])
        names = {
            context.type: context.name
            for context in self._store.get_contexts_by_execution(execution_id)
        }
        return ExecutionNode(
            id=execution_id,
            component=names.get("node", execution.type).rpartition(".")[2],
            run_id=names.get("pipeline_run", ""),
            ended_at_ms=execution.last_update_time_since_epoch,
        )

    def _files(
        self, artifact: metadata_store_pb2.Artifact, execution_id: int
    ) -> Iterator[FileNode]:
        files = artifact.custom_properties[properties.FILES].string_value
        if not files:
            return
        (execution,) = self._store.get_executions_by_id([execution_id])
        base = execution.custom_properties[properties.INPUT_BASE].string_value
        for path, digest in json.loads(files).items():
            yield FileNode(id=f"{base.rstrip('/')}/{path}", sha256=digest)


def _artifact_node(artifact: metadata_store_pb2.Artifact) -> ArtifactNode:
    recorded = {**artifact.properties, **artifact.custom_properties}
    return ArtifactNode(
        id=artifact.id,
        type=artifact.type,
        uri=artifact.uri,
        properties={
            name: getattr(value, value.WhichOneof("value"))
            for name, value in sorted(recorded.items())
            if value.WhichOneof("value") in ("int_value", "double_value", "string_value")
        },
    )
