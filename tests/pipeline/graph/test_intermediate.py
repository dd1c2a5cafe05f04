"""The IR: where a node looks for its inputs."""

from components.names.node_ids import NodeId
from pipeline.graph import dag, intermediate
from pipeline.settings import pipeline_config

OF_OTHER_RUNS = {NodeId.ACCEPTED_SPANS, NodeId.CHAMPION_RESOLVER}


def test_inputs_are_not_looked_for_in_the_whole_pipeline() -> None:
    folders = dag.Folders("/data", "/artifacts", "/serving")
    ir = intermediate.compile_pipeline(dag.create_pipeline(pipeline_config.load(), folders))
    seen = set()
    for node in ir.nodes:
        for given in node.pipeline_node.inputs.inputs.values():
            for channel in given.channels:
                kinds = {query.type.name for query in channel.context_queries}
                seen.add(frozenset(kinds))
                assert kinds in ({"pipeline_run", "node"}, {"node"})
                if kinds == {"node"}:
                    assert node.pipeline_node.node_info.id in OF_OTHER_RUNS
    assert frozenset({"pipeline_run", "node"}) in seen
    contexts = ir.nodes[0].pipeline_node.contexts.contexts
    kinds = {context.type.name for context in contexts}
    assert kinds == {"pipeline", "pipeline_run", "node"}, "executions belong to all three"
