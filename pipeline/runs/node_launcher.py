"""Launches a node as TFX does, in a time that does not grow with the number of runs."""

from __future__ import annotations

from collections.abc import Mapping

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.portable import execution_publish_utils, launcher
from tfx.types import Property
from tfx.utils.typing_utils import ArtifactMultiMap

from pipeline.runs import executions


class NodeLauncher(launcher.Launcher):  # type: ignore[misc]
    """TFX's launcher, which looks for an unfinished execution among those of the run only.

    TFX's own reads those of all runs, so that each run would take longer than the one before.
    """

    def _register_or_reuse_execution(
        self,
        metadata_handle: metadata.Metadata,
        contexts: list[metadata_store_pb2.Context],
        input_artifacts: ArtifactMultiMap | None = None,
        exec_properties: Mapping[str, Property] | None = None,
    ) -> metadata_store_pb2.Execution:
        if executions.in_run(metadata_handle, self._pipeline_node):
            return super()._register_or_reuse_execution(
                metadata_handle, contexts, input_artifacts, exec_properties
            )
        return execution_publish_utils.register_execution(
            metadata_handle=metadata_handle,
            execution_type=self._pipeline_node.node_info.type,
            contexts=contexts,
            input_artifacts=input_artifacts,
            exec_properties=exec_properties,
        )
