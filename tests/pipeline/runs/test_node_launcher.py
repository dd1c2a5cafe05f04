"""A node is launched without reading the executions of other runs, and once in each run."""

from pathlib import Path

import pytest
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import runtime_parameter_utils

from components import curated_schema
from components.curated_schema import CuratedSchema
from pipeline.graph import intermediate
from pipeline.local.worker import ReportingNode
from pipeline.settings import pipeline_config

State = metadata_store_pb2.Execution


class Launches:
    """A pipeline with two nodes of the same component; the second is launched."""

    def __init__(self, folder: Path):
        self.connection = metadata.sqlite_metadata_connection_config(str(folder / "metadata"))
        schema = pipeline_config.load().validation.schema_text
        nodes = [
            CuratedSchema(schema_text=schema, class_balance_json="[1]", code_digest=name).with_id(
                name
            )
            for name in ("Other", "Own")
        ]
        self._pipeline = Pipeline(
            "digits",
            pipeline_root=str(folder),
            components=nodes,
            metadata_connection_config=self.connection,
        )

    def launch(self, run_id: str, node: int) -> None:
        ir = intermediate.compile_pipeline(self._pipeline)
        run = {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
        runtime_parameter_utils.substitute_runtime_parameter(ir, run)
        deployment = runner_utils.extract_local_deployment_config(ir)
        chosen = ir.nodes[node].pipeline_node
        ReportingNode(
            pipeline_node=chosen,
            mlmd_connection_config=self.connection,
            pipeline_info=ir.pipeline_info,
            pipeline_runtime_spec=ir.runtime_spec,
            executor_spec=runner_utils.extract_executor_spec(deployment, chosen.node_info.id),
            custom_driver_spec=None,
            deployment_config=deployment,
            pipeline=ir,
        ).process(None)


def test_a_node_reads_the_executions_of_its_run_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = set()
    original = MetadataStore.get_executions_by_context

    def remember(store: MetadataStore, context_id: int, *rest: object) -> object:
        (context,) = store.get_contexts_by_id([context_id])
        asked.add(context.name)
        return original(store, context_id, *rest)

    monkeypatch.setattr(MetadataStore, "get_executions_by_context", remember)
    launches = Launches(tmp_path)
    for run_id in ("first", "second"):
        launches.launch(run_id, 0)
        launches.launch(run_id, 1)
    assert asked == {"first", "second"}
    with metadata.Metadata(launches.connection) as handle:
        assert len(handle.store.get_executions()) == 4


def test_an_unfinished_execution_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: object) -> None:
        raise KeyboardInterrupt  # as if the process were killed: nothing more is recorded

    launches = Launches(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(curated_schema, "class_balance_statistics", end)
        launches.launch("first", 1)
    with metadata.Metadata(launches.connection) as handle:
        (execution,) = handle.store.get_executions()
    assert execution.last_known_state == State.RUNNING
    launches.launch("first", 1)
    with metadata.Metadata(launches.connection) as handle:
        (found,) = handle.store.get_executions()
    assert (found.id, found.last_known_state) == (execution.id, State.COMPLETE)
