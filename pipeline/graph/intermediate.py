"""The pipeline's intermediate representation (IR), which all runners launch nodes from."""

from __future__ import annotations

from tfx.dsl.compiler import compiler, constants
from tfx.orchestration.pipeline import Pipeline
from tfx.proto.orchestration import pipeline_pb2

_PIPELINE = constants.PIPELINE_CONTEXT_TYPE_NAME
_RUN = constants.PIPELINE_RUN_CONTEXT_TYPE_NAME


def compile_pipeline(pipeline: Pipeline) -> pipeline_pb2.Pipeline:
    """Compiles the pipeline; an output of the same run is looked for in that run only.

    TFX looks for it among all executions of the pipeline, too. ML Metadata 1.21 returns them one by
    one, so that each run would take longer than the one before.
    """
    ir: pipeline_pb2.Pipeline = compiler.Compiler().compile(pipeline)
    for node in ir.nodes:
        for given in node.pipeline_node.inputs.inputs.values():
            for channel in given.channels:
                queries = list(channel.context_queries)
                if any(query.type.name == _RUN for query in queries):
                    del channel.context_queries[:]
                    channel.context_queries.extend(
                        query for query in queries if query.type.name != _PIPELINE
                    )
    return ir
