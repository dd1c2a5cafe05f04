"""What the metadata store knows of a node's execution in a run: its state and its outputs.

Shared by the runners that launch nodes themselves; TFX's launcher returns without a
word also where a node could not run.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence

from ml_metadata import errors as mlmd_errors
from ml_metadata.proto import metadata_store_pb2
from tfx.components.util import model_utils
from tfx.orchestration import metadata
from tfx.orchestration.portable import inputs_utils
from tfx.orchestration.portable.mlmd import context_lib, execution_lib
from tfx.proto import pusher_pb2
from tfx.proto.orchestration import pipeline_pb2
from tfx.types import standard_component_specs as specs
from tfx.types.artifact import Artifact
from tfx.types.standard_artifacts import InfraBlessing, PushedModel
from tfx.utils import proto_utils

from components import atomic_pusher, evaluation_results, server_validator
from pipeline.errors import ExitCode, PipelineError
from pipeline.events import NodeState

State = metadata_store_pb2.Execution.State
RESOLVER = "tfx.dsl.components.common.resolver.Resolver"
SERVER_VALIDATOR = "ServerValidator"
PUSHER = "AtomicPusher"


class RefusedError(PipelineError):
    """A gate said no.

    Args:
      what: what does not happen.
      reasons: why.
    """

    exit_code = ExitCode.REFUSED

    # Beam makes the exception anew from its arguments, with a longer message.
    def __init__(self, what: str, reasons: Sequence[str]):
        super().__init__(what, reasons)
        self.reasons = tuple(reasons)

    def __str__(self) -> str:
        return f"{self.args[0]}: {'; '.join(self.reasons)}"


class NodeNotCompleteError(Exception):
    """The launcher came back without the node being complete; it does so without raising."""


def final_state(handle: metadata.Metadata, node: pipeline_pb2.PipelineNode) -> NodeState:
    """How the node's newest execution in this run ended: cached, resolved or done.

    Raises:
      NodeNotCompleteError: it did not end well, or there is none.
    """
    newest = _newest(handle, node)
    state = newest.last_known_state if newest else State.UNKNOWN
    if state == State.CACHED:
        return "cached"
    if state != State.COMPLETE:
        raise NodeNotCompleteError(
            f"its inputs could not be resolved, or it was left as {State.Name(state)}"
        )
    return "resolved" if node.node_info.type.name == RESOLVER else "done"


def outputs(
    handle: metadata.Metadata, node: pipeline_pb2.PipelineNode
) -> dict[str, list[Artifact]]:
    """The artifacts that the node gave in this run, by key; those of an earlier run if cached."""
    newest = _newest(handle, node)
    return dict(execution_lib.get_output_artifacts(handle, newest.id)) if newest else {}


def output(handle: metadata.Metadata, node: pipeline_pb2.PipelineNode, key: str) -> Artifact:
    """The one artifact that the node gave under `key`."""
    (artifact,) = outputs(handle, node)[key]
    return artifact


def is_pushed(pushed_model: Artifact) -> bool:
    """Whether AtomicPusher pushed the model, rather than obeyed a refusal."""
    return bool(pushed_model.get_int_custom_property(atomic_pusher.PUSHED))


def refusals(handle: metadata.Metadata, pusher: pipeline_pb2.PipelineNode) -> tuple[str, ...]:
    """Why the model that came to AtomicPusher was not blessed, one reason each.

    The Evaluator's reasons first, then ServerValidator's.
    """
    (inputs,) = _inputs(handle, pusher)
    (blessing,) = inputs[specs.MODEL_BLESSING_KEY]
    (infra_blessing,) = inputs[specs.INFRA_BLESSING_KEY]
    not_served = infra_blessing.get_string_custom_property(server_validator.REASON)
    events = handle.store.get_events_by_artifact_ids([blessing.id])
    evaluator = next(
        event.execution_id for event in events if event.type == metadata_store_pb2.Event.OUTPUT
    )
    (found,) = execution_lib.get_output_artifacts(handle, evaluator)[specs.EVALUATION_KEY]
    return (*evaluation_results.read(found.uri).refusals, *([not_served] if not_served else []))


def prepare(handle: metadata.Metadata, node: pipeline_pb2.PipelineNode) -> None:
    """What a runner does before it launches a node: looks at what TFX's cache knows nothing of.

    Raises:
      RefusedError: the model was rolled back.
    """
    if node.node_info.id == PUSHER:
        _prepare_push(handle, node)
    elif node.node_info.id == SERVER_VALIDATOR:
        _forget_refusal(handle, node)


def _forget_refusal(handle: metadata.Metadata, validator: pipeline_pb2.PipelineNode) -> None:
    """Switches the cache off where a server was too slow, or did not start: it may do better."""
    resolved = _inputs(handle, validator)
    models = {artifact.id for artifact in resolved[0][specs.MODEL_KEY]} if resolved else set()
    for blessing in handle.store.get_artifacts_by_type(InfraBlessing.TYPE_NAME):
        properties = blessing.custom_properties
        is_refusal = bool(properties[server_validator.REASON].string_value)
        if is_refusal and properties[server_validator.MODEL_ID].int_value in models:
            validator.execution_options.caching_options.enable_cache = False


def _prepare_push(handle: metadata.Metadata, pusher: pipeline_pb2.PipelineNode) -> None:
    """Switches the cache of a push off, unless it made the newest version in its folder.

    The cache does not know of the serving folder: it was emptied since, or something else was
    pushed over this. What was asked for is what must be served; but not a model that somebody
    has rolled back, which would undo that without a word.
    """
    resolved = _inputs(handle, pusher)
    if not resolved:  # the launcher says so
        return
    model, blessing = (resolved[0][key][0] for key in (specs.MODEL_KEY, specs.MODEL_BLESSING_KEY))
    (infra_blessing,) = resolved[0][specs.INFRA_BLESSING_KEY]
    if not (
        model_utils.is_model_blessed(blessing) and model_utils.is_infra_validated(infra_blessing)
    ):
        return
    destination = pusher_pb2.PushDestination()
    parameter = pusher.parameters.parameters[specs.PUSH_DESTINATION_KEY]
    proto_utils.json_to_proto(parameter.field_value.string_value, destination)
    folder = destination.filesystem.base_directory
    newest = max(atomic_pusher.versions(folder), default=0)
    if _sources(handle, posixpath.join(folder, str(newest))) == (model.id, blessing.id):
        return
    for version in atomic_pusher.withdrawn(folder):
        sources = _sources(handle, posixpath.join(folder, str(version)))
        if sources and sources[0] == model.id:
            raise RefusedError(
                "the model is not pushed again",
                [
                    f"it was rolled back, as version {version}: `mnist-tfx rollback {version}` "
                    "brings it back"
                ],
            )
    pusher.execution_options.caching_options.enable_cache = False


def _sources(handle: metadata.Metadata, version: str) -> tuple[int, int] | None:
    """The ids of the model and the blessing from which the version in this folder was made."""
    for pushed in handle.store.get_artifacts_by_type(PushedModel.TYPE_NAME):
        properties = pushed.custom_properties
        if properties[atomic_pusher.PUSHED_DESTINATION].string_value == version:
            names = atomic_pusher.MODEL_ID, atomic_pusher.BLESSING_ID
            model, blessing = (int(properties[name].int_value) for name in names)
            return model, blessing
    return None


def one_line(error: Exception) -> str:
    """The error in one line, without what Beam puts around it."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = text.partition(" [while running")[0]
    if isinstance(error, mlmd_errors.StatusError):
        text = f"the metadata store: {text}"
    return text if len(text) < 1000 else f"{text[:1000]}..."


def _inputs(
    handle: metadata.Metadata, node: pipeline_pb2.PipelineNode
) -> Sequence[Mapping[str, Sequence[Artifact]]]:
    resolved: Sequence[Mapping[str, Sequence[Artifact]]] = inputs_utils.resolve_input_artifacts(
        pipeline_node=node, metadata_handle=handle
    )
    return resolved


def _newest(
    handle: metadata.Metadata, node: pipeline_pb2.PipelineNode
) -> metadata_store_pb2.Execution | None:
    contexts = context_lib.prepare_contexts(handle, node.contexts)
    found: Sequence[metadata_store_pb2.Execution] = (
        execution_lib.get_executions_associated_with_all_contexts(handle, contexts)
    )
    return next(iter(execution_lib.sort_executions_newest_to_oldest(found)), None)
