"""The pipeline for Vertex AI compiles, and differs where Vertex requires it."""

import re

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from components.names.node_ids import NodeId
from pipeline.kubeflow import vertex
from pipeline.kubeflow.cluster import cluster_config
from pipeline.settings import pipeline_config
from pipeline.settings.errors import ConfigError

# Vertex's rule for the names of artifact types that are not its own.
TYPE_NAME = re.compile(r"[a-z][a-z0-9-_]{2,20}[.][A-Z][A-Za-z0-9-_]{2,49}")
IMAGE = "region-docker.pkg.dev/project/repository/mnist-tfx:1"
BUCKET = "storage={root='gs://bucket/mnist'}"


def _spec(*overrides: str) -> pipeline_spec_pb2.PipelineSpec:
    settings = cluster_config.load(overrides=[BUCKET, f"image={IMAGE}", *overrides])
    text = vertex.compile_pipeline(pipeline_config.load(), settings)
    return json_format.ParseDict(yaml.safe_load(text), pipeline_spec_pb2.PipelineSpec())


def test_it_is_a_pipeline_of_version_2_1_with_every_component() -> None:
    spec = _spec()
    assert spec.schema_version == "2.1.0"
    assert spec.pipeline_info.name == "mnist"
    tasks = {name for name in spec.root.dag.tasks if not name.startswith("ChampionResolver-")}
    assert tasks == set(NodeId) - {"ChampionResolver", "AcceptedSpans"}
    assert "AnomalyGate" in spec.root.dag.tasks["Transform"].dependent_tasks
    executors = spec.deployment_spec["executors"]
    containers = [e["container"] for e in executors.values() if "container" in e]
    assert {container["image"] for container in containers} == {IMAGE}
    assert list(executors["Trainer_executor"]["container"]["command"]) == list(vertex.EXECUTOR)


def test_the_types_of_artifacts_are_ones_that_vertex_takes() -> None:
    """All types are TFX's own."""
    schemas = [
        yaml.safe_load(artifact.artifact_type.instance_schema)["title"]
        for component in _spec().components.values()
        for artifact in component.output_definitions.artifacts.values()
    ]
    assert len(schemas) > 10
    for title in schemas:
        assert re.fullmatch(r"tfx\.[A-Z]\w+", title), title
        assert TYPE_NAME.fullmatch(title), title


def test_everything_is_below_the_bucket() -> None:
    spec = _spec()
    pushed = spec.root.dag.tasks["AtomicPusher"].inputs.parameters["push_destination"]
    assert "gs://bucket/mnist/serving_model/mnist" in pushed.runtime_value.constant.string_value
    data = spec.root.dag.tasks["IdxExampleGen"].inputs.parameters["input_base"]
    assert data.runtime_value.constant.string_value == "gs://bucket/mnist/data"


def test_a_volume_and_a_name_with_an_underscore_are_rejected() -> None:
    with pytest.raises(
        ConfigError, match=r"storage.root is /mnt/mnist-tfx; Vertex mounts no volume"
    ):
        vertex.compile_pipeline(pipeline_config.load(), cluster_config.load())
    settings = cluster_config.load(overrides=[BUCKET])
    with pytest.raises(ConfigError, match="name is my_digits; Vertex allows only a-z, 0-9 and -"):
        vertex.compile_pipeline(pipeline_config.load(overrides=["name=my_digits"]), settings)
