"""The pipeline's intermediate representation (IR), which all runners launch nodes from."""

from __future__ import annotations

from tfx.dsl.compiler import compiler, constants
from tfx.orchestration.pipeline import Pipeline
from tfx.proto.orchestration import pipeline_pb2

_PIPELINE = constants.PIPELINE_CONTEXT_TYPE_NAME


def compile_pipeline(pipeline: Pipeline) -> pipeline_pb2.Pipeline:
    """Compiles the pipeline; an input is looked for among the executions of its producer only.

    TFX also reads all executions of the pipeline, and ML Metadata 1.21 cannot filter, so that each
    run would take longer than the one before.
    """
    ir: pipeline_pb2.Pipeline = compiler.Compiler().compile(pipeline)
    for node in ir.nodes:
        for given in node.pipeline_node.inputs.inputs.values():
            for channel in given.channels:
                narrower = [q for q in channel.context_queries if q.type.name != _PIPELINE]
                if narrower:
                    del channel.context_queries[:]
                    channel.context_queries.extend(narrower)
    return ir
