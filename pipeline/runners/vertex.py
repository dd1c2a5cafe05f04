"""Compiles the graph for Vertex AI Pipelines, with TFX's own runner. Compile only.

Vertex runs the components' executors without TFX's launcher, so what this project has
in drivers and resolvers does not carry over: `NOTES` says what that means.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

from components import accepted_spans, champion
from pipeline import graph
from pipeline.cluster import ClusterConfig
from pipeline.config import PipelineConfig
from pipeline.errors import ConfigError
from pipeline.runners.local import BEAM_RUNNER

EXECUTOR: Final = (
    "python",
    "-m",
    "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor",
)
NOTES: Final = (
    "Vertex takes no resolver of ours: the champion is TFX's latest blessed model, so a run that "
    "is not cached may compare a model with itself.",
    "For the same reason it knows of no accepted spans: a run trains on its own data only, which "
    "is compared with itself, so there is no drift.",
    "Vertex runs no driver of ours: data that was uploaded again, unchanged, is ingested again.",
    "A bucket has no rename: a push is not one step; saved_model.pb is written last.",
    "Resources, tolerations, labels, secrets, retries and timeouts of the cluster's file are not "
    "in what is compiled, and metadata are kept by Vertex.",
)


def compile_pipeline(config: PipelineConfig, cluster: ClusterConfig) -> str:
    """The pipeline as the YAML that Vertex takes.

    Raises:
      ConfigError: the cluster's storage is not a bucket of Google Cloud, or Vertex refuses
        the pipeline's name.
    """
    storage = cluster.storage
    if not storage.is_bucket:
        raise ConfigError(
            f"the cluster's file: storage.root is {storage.root}: Vertex has no volume to mount, "
            "and a bucket is expected: gs://BUCKET/PATH, with pvc left out."
        )
    if "_" in config.name:
        raise ConfigError(f"name is {config.name}: Vertex takes a-z, 0-9 and - in it only.")
    pipeline = graph.create_pipeline(
        config,
        graph.Places(
            data=storage.folder(storage.data),
            artifacts=storage.artifacts,
            serving=storage.serving(config.name),
        ),
        beam_args=[BEAM_RUNNER],
        find_champion=champion.latest_blessed_model,
        find_spans=accepted_spans.only_this_one,
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
