"""The pipeline on a real Kubeflow Pipelines on a real Kubernetes: `make test-cluster`.

The tests use a fresh cluster as a user does: with `mnist-tfx`, `kubectl` and the gRPC client. They
run in this order, on one namespace, with the sample of digits; about 45 minutes.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import shutil
import subprocess
import threading
import time
from typing import Any, Final

import httpx
import numpy as np
import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

from cluster.__main__ import STATE
from cluster.user import (
    MODELS,
    NODE_NAME,
    RUN_TIMEOUT_S,
    VOLUME,
    Kubeflow,
    forwarded,
    kubectl,
    states,
)
from components.images import idx_format
from components.images.idx_format import ImagesAndLabels
from components.names.node_ids import NodeId
from serving.client import Client

BUCKET: Final = STATE / "volumes" / "kubeflow-objects" / "mlpipeline" / "v2" / "artifacts" / "mnist"
TRAINER: Final = "tfx.components.trainer.component.Trainer"
WITH_WEBHOOK: Final = ("--set", "kubeflow.webhook={secret='mnist-tfx-webhook'}")
IMAGES: Final = 100  # in one request; the manifest's server joins at most 128 into a batch
POD_TIMEOUT_S: Final = 600


def test_a_submitted_run_pushes_a_model_that_is_served(
    kubeflow: Kubeflow, test_digits: ImagesAndLabels
) -> None:
    done = kubeflow.submit("--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(states(done)) == set(NodeId)
    assert set(states(done).values()) == {"done", "resolved"}
    assert done.stdout.rstrip().endswith("the run succeeded.")
    kubectl("rollout", "status", "deployment/mnist-tfx-model-server", f"--timeout={POD_TIMEOUT_S}s")
    with (
        forwarded("svc/mnist-tfx-model-server", 8500) as port,
        Client(f"127.0.0.1:{port}", "mnist") as client,
    ):
        prediction = client.predict(test_digits.images[:IMAGES])
    assert np.mean(prediction.digits == test_digits.labels[:IMAGES]) > 0.7


def test_the_bucket_has_what_the_user_interface_shows(kubeflow: Kubeflow) -> None:
    (report,) = BUCKET.rglob("runreport/*/page")
    assert "mnist: blessed, accuracy 0." in report.read_text()
    (anomalies,) = BUCKET.rglob("examplevalidator/*/anomalies")
    assert anomalies.read_text() == "No anomalies were found.\n"
    logs = [path.read_text() for path in BUCKET.rglob("trainer/*/executor-logs*")]
    assert any("mnist-tfx: Trainer done" in log for log in logs)


def test_a_second_run_takes_everything_from_the_cache(kubeflow: Kubeflow) -> None:
    done = kubeflow.submit("--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    found = states(done)
    assert found.pop(NodeId.ACCEPTED_SPANS) == found.pop(NodeId.CHAMPION_RESOLVER) == "resolved"
    assert set(found.values()) == {"cached"}


def test_a_rejected_model_is_not_pushed_and_the_web_service_is_told(
    kubeflow: Kubeflow, notices: list[dict[str, Any]]
) -> None:
    versions = sorted(MODELS.iterdir())
    notices.clear()
    done = kubeflow.submit("--wait", "--set", "evaluation.min_accuracy=0.9999", *WITH_WEBHOOK)
    assert done.returncode == 3, done.stdout + done.stderr
    assert states(done)[NodeId.ATOMIC_PUSHER] == "rejected"
    assert re.search(
        r"^AtomicPusher rejected: the model was not pushed: .*accuracy is 0\.\d+; the minimum is",
        done.stdout,
        re.M,
    )
    assert sorted(MODELS.iterdir()) == versions
    (notice,) = notices
    assert (notice["result"], notice["exit_code"], notice["version"]) == ("rejected", 3, None)
    assert notice["rejections"] and notice["rejections"][0] in notice["message"]
    assert 0.7 < notice["accuracy"] < 1


def test_anomalous_data_stops_the_run(kubeflow: Kubeflow) -> None:
    inverted = VOLUME / "inverted"
    if not inverted.exists():
        shutil.copytree(VOLUME / "data", inverted)
        images, labels = idx_format.find_pair(inverted, "t10k-*")
        pair = idx_format.read_pair(images, labels)
        images.write_bytes(idx_format.serialize(255 - pair.images))
    done = kubeflow.submit("--wait", "--param", "data=inverted")
    assert done.returncode == 3, done.stdout + done.stderr
    assert states(done)[NodeId.ANOMALY_GATE] == "rejected"
    assert NodeId.TRAINER not in states(done)
    assert "AnomalyGate rejected: the data has " in done.stdout
    assert "pixel_mean" in done.stdout


def test_a_deleted_pod_is_retried_on_the_same_execution(
    kubeflow: Kubeflow, notices: list[dict[str, Any]]
) -> None:
    before = executions(TRAINER)
    notices.clear()
    deleted: list[str] = []
    is_over = threading.Event()

    def delete() -> None:
        while not deleted and not is_over.wait(0.5):
            with contextlib.suppress(subprocess.CalledProcessError):  # the pod is gone
                deleted.extend(delete_training_pod())

    thread = threading.Thread(target=delete, daemon=True)
    thread.start()
    recipe = ("--param", "recipe.seed=3", "--param", "recipe.epochs=40")
    done = kubeflow.submit("--wait", *recipe, *WITH_WEBHOOK)
    is_over.set()
    thread.join()
    assert done.returncode == 0, done.stdout + done.stderr
    assert deleted
    assert states(done)[NodeId.TRAINER] == "done"
    assert len(executions(TRAINER)) == len(before) + 1
    (notice,) = notices
    assert (notice["result"], notice["message"]) == ("pushed", "")
    assert notice["version"] == max(int(path.name) for path in MODELS.iterdir())


def delete_training_pod() -> list[str]:
    """Deletes a pod that is in the middle of a training; its name."""
    for pod in json.loads(kubectl("get", "pods", "-o", "json"))["items"]:
        name: str = pod["metadata"]["name"]
        is_running = any(
            "running" in container["state"] and container["name"] == "main"
            for container in pod["status"].get("containerStatuses", ())
        )
        task = pod["metadata"].get("annotations", {}).get(NODE_NAME, "")
        if not is_running or ".trainer(0).executor" not in task:
            continue
        if "Total params: 1,413,834" in kubectl("logs", name, "-c", "main"):
            kubectl("delete", "pod", name, "--force")
            return [name]
    return []


def executions(node_type: str) -> list[metadata_store_pb2.Execution]:
    """The executions of a type in the pipeline's metadata store."""
    secret = json.loads(kubectl("get", "secret", "mnist-tfx-mysql", "-o", "json"))["data"]
    with forwarded("statefulset/mnist-tfx-mysql", 3306) as port:
        store = metadata_store.MetadataStore(
            metadata.mysql_metadata_connection_config(
                host="127.0.0.1",
                port=port,
                database="mlmd",
                username=base64.b64decode(secret["username"]).decode(),
                password=base64.b64decode(secret["password"]).decode(),
            )
        )
        return list(store.get_executions_by_type(node_type))


def test_a_schedule_starts_runs_that_do_not_overlap_until_it_is_paused(kubeflow: Kubeflow) -> None:
    started = set(workflows())
    cron = ("--set", "kubeflow.schedule.cron=0 * * * * *")
    named = kubeflow.with_config("schedule", "create", "--name", "minutely", *cron)
    assert named.returncode == 0, named.stdout + named.stderr
    try:
        end = time.monotonic() + RUN_TIMEOUT_S
        while len(new := workflows().keys() - started) < 2 and time.monotonic() < end:
            running = [name for name in new if not workflows()[name].get("finishedAt")]
            assert len(running) <= 1
            time.sleep(5)
        assert len(new) == 2
        paused = kubeflow.call("schedule", "pause", "minutely")
        assert paused.returncode == 0, paused.stderr
        first, second = sorted((workflows()[name] for name in new), key=lambda w: w["startedAt"])
        assert first["finishedAt"] <= second["startedAt"]
        time.sleep(130)  # two more times of the schedule
        assert workflows().keys() - started == new
    finally:
        kubeflow.call("schedule", "delete", "minutely")
        kubectl("delete", "workflow", "--all")


def workflows() -> dict[str, dict[str, str]]:
    """The status of each workflow."""
    items = json.loads(kubectl("get", "workflows", "-o", "json"))["items"]
    return {item["metadata"]["name"]: item.get("status", {}) for item in items}


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        (
            "image=nosuch.invalid/mnist-tfx:1",
            "the image nosuch.invalid/mnist-tfx:1 cannot be pulled; ",
        ),
        (
            "storage.pvc=nosuch",
            'no node can take its pod: 0/1 nodes are available: persistentvolumeclaim "nosuch" not '
            "found",
        ),
        (
            "metadata.secret=nosuch",
            'its container cannot be created: secret "nosuch" not found. Apply the manifests',
        ),
        (
            "components.CuratedSchema={memory_request='100G', memory_limit='100G'}",
            "no node can take its pod: 0/1 nodes are available: ",
        ),
    ],
)
def test_a_pod_that_cannot_start_is_explained(
    kubeflow: Kubeflow, override: str, problem: str
) -> None:
    line = kubeflow.wait_for("! ", "--set", f"kubeflow.{override}")
    assert line.split(": ", 1)[1].startswith(problem), line


def test_too_little_memory_is_explained(kubeflow: Kubeflow) -> None:
    done = kubeflow.submit("--wait", "--set", "kubeflow.components.CuratedSchema.memory_limit=260M")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "CuratedSchema failed: it needed more memory than its limit, 260M; raise" in done.stdout


FLINK: Final = """beam={runner = "flink", flink_master = "mnist-tfx-flink:8081", \
job_endpoint = "mnist-tfx-beam-job-server:8099", environment_type = "EXTERNAL", \
environment_config = "localhost:50000", parallelism = 2}"""


def test_the_beam_jobs_run_on_flink_in_the_cluster(kubeflow: Kubeflow) -> None:
    manifests = str(STATE / "manifests" / "flink")
    kubectl("apply", "--kustomize", manifests)
    try:
        for name in ("flink-job-manager", "flink-task-manager", "beam-job-server"):
            deployment = f"deployment/mnist-tfx-{name}"
            kubectl("rollout", "status", deployment, f"--timeout={POD_TIMEOUT_S}s")
        splits = ("data.eval_fraction=0.24", "validation.max_share_change=0.2")  # nothing is cached
        done = kubeflow.submit("--wait", *(f"--set={option}" for option in (FLINK, *splits)))
        assert done.returncode == 0, done.stdout + done.stderr
        found = states(done)
        for node in (NodeId.STATISTICS_GEN, NodeId.EVALUATOR, NodeId.ATOMIC_PUSHER):
            assert found[node] == "done"
        with forwarded("svc/mnist-tfx-flink", 8081) as port:
            jobs = httpx.get(f"http://127.0.0.1:{port}/jobs/overview").json()["jobs"]
        assert [job["state"] for job in jobs] == ["FINISHED"] * 2
    finally:
        kubectl("delete", "--kustomize", manifests, "--ignore-not-found")
