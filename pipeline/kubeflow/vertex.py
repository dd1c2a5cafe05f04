"""Compiles the graph for Vertex AI Pipelines, with TFX's own runner. Compilation only.

Vertex runs the components' executors without TFX's launcher, so the project's own driver and
resolvers do not run there. `NOTES` lists the consequences.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

from components import accepted_spans, champion_resolver
from pipeline.graph import dag
from pipeline.graph.beam import BEAM_OPTIONS
from pipeline.kubeflow.cluster.cluster_config import ClusterConfig
from pipeline.settings.errors import ConfigError
from pipeline.settings.pipeline_config import PipelineConfig

EXECUTOR: Final = (
    "python",
    "-m",
    "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor",
)
NOTES: Final = (
    "Vertex does not run custom resolvers: the champion is TFX's latest blessed model, so a run "
    "that is not cached may compare a model with itself.",
    "for the same reason there are no accepted spans: a run trains on its own data only, and "
    "drift is not measured.",
    "Vertex does not run custom drivers: data that is uploaded again unchanged is ingested again.",
    "a bucket has no rename: a push is not atomic; saved_model.pb is written last.",
    "resources, tolerations, labels, secrets, retries and time-outs in the cluster file are not "
    "part of the compiled pipeline, and Vertex keeps the metadata.",
)


def compile_pipeline(config: PipelineConfig, cluster: ClusterConfig) -> str:
    """The pipeline as YAML for Vertex.

    Raises:
      ConfigError: the storage is not a bucket, or Vertex does not allow the pipeline's name.
    """
    storage = cluster.storage
    if not storage.is_bucket:
        raise ConfigError(
            f"the cluster file: storage.root is {storage.root}; Vertex mounts no volume. Set a "
            "bucket with --set kubeflow.storage.root=gs://BUCKET/PATH --set kubeflow.storage.pvc="
        )
    if "_" in config.name:
        raise ConfigError(f"name is {config.name}; Vertex allows only a-z, 0-9 and - in it.")
    pipeline = dag.create_pipeline(
        config,
        dag.Folders(
            data=storage.folder(storage.data),
            artifacts=storage.artifacts,
            serving=storage.serving(config.name),
        ),
        beam_args=config.beam.arguments() or [*BEAM_OPTIONS],
        find_champion=champion_resolver.latest_blessed_model,
        find_spans=accepted_spans.current_only,
    )
    with tempfile.TemporaryDirectory(prefix="compile-") as folder:
        runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(
            kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
                default_image=cluster.image,
                default_commands=list(EXECUTOR),
                use_pipeline_spec_2_1=True,
            ),
            output_dir=folder,
            output_filename="pipeline.yaml",
        )
        runner.run(pipeline)
        return (Path(folder) / "pipeline.yaml").read_text(encoding="utf-8")
