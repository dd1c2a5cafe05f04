"""One node's slice of the pipeline's intermediate representation (IR), as a short text.

It is an argument of the node's container, 1 to 3 KB long. The container therefore builds no graph,
and cannot run another graph than the one that was compiled.

Kubeflow repeats the arguments of a task up to ten times in the workflow's status. Above 1 MiB, Argo
compresses that status, and Kubeflow's API server then finds no logs. A slice is therefore small.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping

from google.protobuf import any_pb2, json_format
from tfx.dsl.compiler import constants
from tfx.orchestration.portable import runtime_parameter_utils
from tfx.proto.orchestration import executable_spec_pb2, pipeline_pb2

# The types that the executor and driver specs in the IR are packed from; JSON needs them.
_PACKED = (executable_spec_pb2.PythonClassExecutableSpec, executable_spec_pb2.BeamExecutableSpec)


def encode(ir: pipeline_pb2.Pipeline, node_id: str) -> str:
    """The part of the IR that is needed to launch this node.

    The same IR gives the same text in every process: JSON with sorted keys, since the order of a
    map is not deterministic in the binary form.
    """
    whole = pipeline_pb2.IntermediateDeploymentConfig()
    ir.deployment_config.Unpack(whole)
    own = pipeline_pb2.IntermediateDeploymentConfig()
    for name in ("executor_specs", "custom_driver_specs"):
        specs: dict[str, any_pb2.Any] = getattr(whole, name)
        if node_id in specs:
            getattr(own, name)[node_id].CopyFrom(specs[node_id])
    part = pipeline_pb2.Pipeline(
        pipeline_info=ir.pipeline_info,
        runtime_spec=ir.runtime_spec,
        execution_mode=ir.execution_mode,
        nodes=[node for node in ir.nodes if node.pipeline_node.node_info.id == node_id],
    )
    part.deployment_config.Pack(own)
    _remove_descriptors(part)
    text = json_format.MessageToJson(part, sort_keys=True, indent=None)
    return base64.b64encode(zlib.compress(text.encode(), level=9)).decode()


def _remove_descriptors(part: pipeline_pb2.Pipeline) -> None:
    """Removes the definitions of protocol buffers; the image has them as Python modules.

    They are three quarters of the slice of a node that compares distributions.
    """
    for node in part.nodes:
        for parameter in node.pipeline_node.parameters.parameters.values():
            value_type = parameter.schema.value_type
            if value_type.HasField("proto_type"):
                value_type.proto_type.ClearField("file_descriptors")


def decode(text: str) -> pipeline_pb2.Pipeline:
    """The IR with that node only."""
    part = pipeline_pb2.Pipeline()
    json_format.Parse(zlib.decompress(base64.b64decode(text)), part)
    return part


def fill_in(
    part: pipeline_pb2.Pipeline, run_id: str, pipeline_root: str, values: Mapping[str, str]
) -> None:
    """Substitutes the id, the folder of the artifacts and other values of a run in the IR."""
    bindings = {
        constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id,
        constants.PIPELINE_ROOT_PARAMETER_NAME: pipeline_root,
        **values,
    }
    runtime_parameter_utils.substitute_runtime_parameter(part, bindings)
