"""When a node must run although TFX's cache has its result. Called before a node is launched.

TFX's cache does not know two facts: what is in the serving folder, and that a model server that
was too slow may be faster the next time.
"""

from __future__ import annotations

import posixpath
from pathlib import Path

from tfx.components.util import model_utils
from tfx.orchestration import metadata
from tfx.proto import pusher_pb2
from tfx.proto.orchestration import pipeline_pb2
from tfx.types import standard_component_specs as specs
from tfx.types.standard_artifacts import InfraBlessing, PushedModel
from tfx.utils import proto_utils

from components import atomic_pusher
from components.names import artifact_properties as properties
from components.names.node_ids import NodeId
from pipeline.runs import executions
from pipeline.runs.workspace import Workspace
from pipeline.settings.errors import RejectedError
from serving import version_folders


def apply(handle: metadata.Metadata, node: pipeline_pb2.PipelineNode) -> None:
    """Switches the cache off for a node that must run.

    Raises:
      RejectedError: the node would push a model that was rolled back.
    """
    if node.node_info.id == NodeId.ATOMIC_PUSHER:
        _check_push(handle, node)
    elif node.node_info.id == NodeId.SERVER_VALIDATOR:
        _ignore_cached_rejection(handle, node)


def _ignore_cached_rejection(
    handle: metadata.Metadata, validator: pipeline_pb2.PipelineNode
) -> None:
    """Switches the cache off if the model was rejected: a rejection must not be final."""
    given = executions.inputs(handle, validator) or {}
    models = {artifact.id for artifact in given.get(specs.MODEL_KEY, ())}
    for blessing in handle.store.get_artifacts_by_type(InfraBlessing.TYPE_NAME):
        recorded = blessing.custom_properties
        is_rejection = bool(recorded[properties.REASON].string_value)
        if is_rejection and recorded[properties.MODEL_ID].int_value in models:
            validator.execution_options.caching_options.enable_cache = False


def _options(serving_folder: str) -> str:
    """The options of a command on the workspace that contains this folder."""
    folder = Path(serving_folder)
    return Workspace(folder.parents[1]).options(folder.name)


def _check_push(handle: metadata.Metadata, pusher: pipeline_pb2.PipelineNode) -> None:
    """Switches the cache off unless the served version is this model with this blessing, undamaged.

    The serving folder may have been emptied or damaged, or another model may have been pushed
    since. The model of this run is the one to serve; except if it was rolled back, since pushing it
    again would silently undo that.
    """
    given = executions.inputs(handle, pusher)
    if given is None:  # the launcher reports it
        return
    model, blessing = (given[key][0] for key in (specs.MODEL_KEY, specs.MODEL_BLESSING_KEY))
    (infra_blessing,) = given[specs.INFRA_BLESSING_KEY]
    if not (
        model_utils.is_model_blessed(blessing) and model_utils.is_infra_validated(infra_blessing)
    ):
        return
    destination = pusher_pb2.PushDestination()
    parameter = pusher.parameters.parameters[specs.PUSH_DESTINATION_KEY]
    proto_utils.json_to_proto(parameter.field_value.string_value, destination)
    folder = destination.filesystem.base_directory
    newest = posixpath.join(folder, str(max(atomic_pusher.versions(folder), default=0)))
    digest = _pushes(handle, newest).get((model.id, blessing.id))
    if digest is not None and _is_undamaged(newest, digest):
        return
    for version in atomic_pusher.withdrawn(folder):
        pushes = _pushes(handle, posixpath.join(folder, str(version)))
        if any(pushed_model == model.id for pushed_model, _ in pushes):
            raise RejectedError(
                "the model is not pushed again",
                [
                    f"the model was rolled back (version {version}); to serve it again, run "
                    f"`mnist-tfx rollback {version}{_options(folder)}`"
                ],
            )
    pusher.execution_options.caching_options.enable_cache = False


def _pushes(handle: metadata.Metadata, version_folder: str) -> dict[tuple[int, int], str]:
    """The pushes that led to the version in a folder: model and blessing by id, and the digest.

    There are several if later pushes adopted the version.
    """
    return {
        (
            int(pushed.custom_properties[properties.MODEL_ID].int_value),
            int(pushed.custom_properties[properties.BLESSING_ID].int_value),
        ): str(pushed.custom_properties[properties.PUSHED_DIGEST].string_value)
        for pushed in handle.store.get_artifacts_by_type(PushedModel.TYPE_NAME)
        if pushed.custom_properties[properties.PUSHED_DESTINATION].string_value == version_folder
    }


def _is_undamaged(version_folder: str, digest: str) -> bool:
    """Whether the files are those that were pushed; unknown in a bucket and for older pushes."""
    return not digest or version_folders.digest(Path(version_folder)) == digest
