"""A node is launched without reading the executions of all runs, and once in each run."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from ml_metadata import MetadataStore
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import runtime_parameter_utils

from components.curated_schema import CuratedSchema
from pipeline.graph import intermediate
from pipeline.runs.node_launcher import NodeLauncher
from pipeline.settings import pipeline_config

NAME = "digits"


def _launch(folder: Path, run_id: str) -> None:
    """Launches the only node of a pipeline."""
    connection = metadata.sqlite_metadata_connection_config(str(folder / "metadata.sqlite"))
    node = CuratedSchema(
        schema_text=pipeline_config.load().validation.schema_text,
        class_balance_json="[1]",
        code_digest="",
    )
    ir = intermediate.compile_pipeline(
        Pipeline(
            NAME,
            pipeline_root=str(folder),
            components=[node],
            metadata_connection_config=connection,
        )
    )
    run: Mapping[str, str] = {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
    runtime_parameter_utils.substitute_runtime_parameter(ir, run)
    deployment = runner_utils.extract_local_deployment_config(ir)
    NodeLauncher(
        pipeline_node=ir.nodes[0].pipeline_node,
        mlmd_connection=metadata.Metadata(connection),
        pipeline_info=ir.pipeline_info,
        pipeline_runtime_spec=ir.runtime_spec,
        executor_spec=runner_utils.extract_executor_spec(deployment, node.id),
    ).launch()


def test_a_run_reads_no_executions_of_the_pipeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    original = MetadataStore.get_executions_by_context

    def remember(store: MetadataStore, context_id: int, *rest: object) -> object:
        (context,) = store.get_contexts_by_id([context_id])
        asked.append(context.name)
        return original(store, context_id, *rest)

    monkeypatch.setattr(MetadataStore, "get_executions_by_context", remember)
    _launch(tmp_path, "first")
    _launch(tmp_path, "second")
    assert set(asked) == {"first", "second", f"{NAME}.CuratedSchema"}
    _launch(tmp_path, "second")  # as after a crash: TFX decides what becomes of the execution
    connection = metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))
    with metadata.Metadata(connection) as handle:
        assert len(handle.store.get_executions()) == 2
