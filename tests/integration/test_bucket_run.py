"""The compiled Kubeflow pipeline with its data, artifacts and pushed models in a bucket (`gs://`)."""

from pathlib import Path

import pytest
from doubles import gcs_server, kfp_backend, mlmd_server
from tfx.dsl.io import fileio
from tfx.utils import io_utils

from components.images.idx_format import ImagesAndLabels
from components.names.node_ids import NodeId
from pipeline.kubeflow import compiler
from pipeline.kubeflow.cluster import cluster_config
from pipeline.settings import pipeline_config
from serving import launcher
from serving.client import Client

BUCKET = "mnist-tfx"
ROOT = f"gs://{BUCKET}/team"
TASKS = {node.lower() for node in NodeId}


def test_a_run_in_a_bucket_pushes_a_model_that_answers_and_is_then_cached(
    tmp_path: Path,
    digits: Path,
    digits_config: Path,
    test_digits: ImagesAndLabels,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with (
        gcs_server.running(tmp_path, BUCKET) as environment,
        mlmd_server.running(tmp_path / "metadata.sqlite") as port,
    ):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        for path in digits.iterdir():
            fileio.copy(str(path), f"{ROOT}/data/{path.name}")
        store = f"metadata={{store='grpc', host='127.0.0.1', port={port}}}"
        cluster = cluster_config.load(overrides=[f"storage.root={ROOT}", "storage.pvc=", store])
        pipeline = compiler.compile_pipeline(pipeline_config.load(digits_config), cluster).yaml
        backend = kfp_backend.Backend(pipeline, tmp_path / "pods", volumes={})

        first = backend.run("run-1")
        log = "\n".join(task.log[-3000:] for task in first.values() if task.state == "FAILED")
        assert {name: task.state for name, task in first.items()} == dict.fromkeys(
            TASKS, "SUCCEEDED"
        ), log
        (version,) = fileio.listdir(f"{ROOT}/serving_model/digits")
        served = tmp_path / "served"
        io_utils.copy_dir(f"{ROOT}/serving_model/digits/{version}", str(served / version))
        with (
            launcher.running("digits", served, tmp_path / "server.txt") as server,
            Client(server.address, "digits") as client,
        ):
            client.wait_until_ready(timeout_s=240, check=server.check)
            prediction = client.predict(test_digits.images)
        accuracy = (prediction.digits == test_digits.labels).mean()
        metrics = first["evaluator"].artifacts["metrics"].metadata
        assert metrics["accuracy"] == pytest.approx(accuracy)

        second = backend.run("run-2")
        assert second["trainer"].log.rstrip().endswith("Trainer cached")
        assert second["atomicpusher"].log.rstrip().endswith("AtomicPusher cached")
        assert fileio.listdir(f"{ROOT}/serving_model/digits") == [version]
