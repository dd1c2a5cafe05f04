"""Executions in the metadata store: the state and the artifacts of a node in a run.

For the runners that launch nodes themselves. TFX's launcher returns without an error even if a
node could not run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ml_metadata.proto import metadata_store_pb2
from tfx.components.util import model_utils
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.portable import inputs_utils
from tfx.orchestration.portable.mlmd import context_lib, execution_lib
from tfx.proto.orchestration import pipeline_pb2
from tfx.types import standard_component_specs as specs
from tfx.types.artifact import Artifact

from components.evaluation import results
from components.names import artifact_properties as properties
from components.names.node_ids import NodeId
from pipeline.runs.events import NodeState

State = metadata_store_pb2.Execution.State
RESOLVER = "tfx.dsl.components.common.resolver.Resolver"


class NodeNotCompleteError(Exception):
    """The launcher returned, but the node is not complete."""


def final_state(handle: metadata.Metadata, node: pipeline_pb2.PipelineNode) -> NodeState:
    """The state of the node's newest execution in this run: cached, resolved or done.

    Raises:
      NodeNotCompleteError: it did not complete, or does not exist.
    """
    newest = _newest(handle, node)
    state = newest.last_known_state if newest else State.UNKNOWN
    if state == State.CACHED:
        return "cached"
    if state != State.COMPLETE:
        raise NodeNotCompleteError(
            "its inputs are missing in the metadata store or could not be read, so it did not run "
            f"(state: {State.Name(state)}; see the log for the error)"
        )
    return "resolved" if node.node_info.type.name == RESOLVER else "done"


def inputs(
    handle: metadata.Metadata, node: pipeline_pb2.PipelineNode
) -> Mapping[str, Sequence[Artifact]] | None:
    """The artifacts that the node gets in this run, by key; None if they cannot be resolved."""
    resolved: Sequence[Mapping[str, Sequence[Artifact]]] = inputs_utils.resolve_input_artifacts(
        pipeline_node=node, metadata_handle=handle
    )
    return resolved[0] if resolved else None


def outputs(
    handle: metadata.Metadata, node: pipeline_pb2.PipelineNode
) -> dict[str, list[Artifact]]:
    """The artifacts of the node in this run, by key; those of an earlier run if it is cached."""
    newest = _newest(handle, node)
    return dict(execution_lib.get_output_artifacts(handle, newest.id)) if newest else {}


def output(handle: metadata.Metadata, node: pipeline_pb2.PipelineNode, key: str) -> Artifact:
    """The single artifact of the node under `key`."""
    (artifact,) = outputs(handle, node)[key]
    return artifact


def rejections(handle: metadata.Metadata, pusher: pipeline_pb2.PipelineNode) -> tuple[str, ...]:
    """Why the model that AtomicPusher got was not blessed: the Evaluator's reasons, then the
    reason of ServerValidator."""
    given = inputs(handle, pusher) or {}
    (blessing,) = given[specs.MODEL_BLESSING_KEY]
    (infra_blessing,) = given[specs.INFRA_BLESSING_KEY]
    not_served = infra_blessing.get_string_custom_property(properties.REASON)
    events = handle.store.get_events_by_artifact_ids([blessing.id])
    evaluator = next(
        event.execution_id for event in events if event.type == metadata_store_pb2.Event.OUTPUT
    )
    (evaluation,) = execution_lib.get_output_artifacts(handle, evaluator)[specs.EVALUATION_KEY]
    return (*results.read(evaluation.uri).rejections, *([not_served] if not_served else []))


def own_rejections(handle: metadata.Metadata, node: pipeline_pb2.PipelineNode) -> tuple[str, ...]:
    """Why a node that completed rejected the model or did not push it; else empty."""
    written = outputs(handle, node)
    match node.node_info.id:
        case NodeId.EVALUATOR:
            if not model_utils.is_model_blessed(written[specs.BLESSING_KEY][0]):
                return results.read(written[specs.EVALUATION_KEY][0].uri).rejections
        case NodeId.SERVER_VALIDATOR:
            reason = written["blessing"][0].get_string_custom_property(properties.REASON)
            return (reason,) if reason else ()
        case NodeId.ATOMIC_PUSHER:
            if not is_pushed(written[specs.PUSHED_MODEL_KEY][0]):
                return rejections(handle, node)
    return ()


def is_pushed(pushed_model: Artifact) -> bool:
    """Whether AtomicPusher pushed the model; False if a gate rejected it."""
    return bool(pushed_model.get_int_custom_property(properties.PUSHED))


def in_run(
    handle: metadata.Metadata, node: pipeline_pb2.PipelineNode
) -> list[metadata_store_pb2.Execution]:
    """The executions of the node in its run, in a time that does not grow with the number of runs.

    ML Metadata 1.21 cannot filter: it returns all executions of a context, and the contexts of the
    pipeline and of the node contain those of all runs.
    """
    contexts = {context.type.name: context for context in node.contexts.contexts}
    own = [
        contexts[constants.PIPELINE_RUN_CONTEXT_TYPE_NAME],
        contexts[constants.NODE_CONTEXT_TYPE_NAME],
    ]
    of_run, of_node = context_lib.prepare_contexts(handle, pipeline_pb2.NodeContexts(contexts=own))
    return [
        execution
        for execution in handle.store.get_executions_by_context(of_run.id)
        if execution.type == node.node_info.type.name
        and of_node.id in {c.id for c in handle.store.get_contexts_by_execution(execution.id)}
    ]


def _newest(
    handle: metadata.Metadata, node: pipeline_pb2.PipelineNode
) -> metadata_store_pb2.Execution | None:
    found = execution_lib.sort_executions_newest_to_oldest(in_run(handle, node))
    return next(iter(found), None)
