"""A training in several pods, on a real Kubeflow on a real Kubernetes: `make test-cluster`."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from typing import Final

from cluster.__main__ import STATE
from cluster.user import MODELS, NODE_NAME, Kubeflow, kubectl, states
from components.names.node_ids import NodeId

IN_PODS: Final = (
    *("--set", "kubeflow.training_pods=true", "--param", "recipe.distribution=multi_worker"),
    *("--param", "recipe.workers=3", "--param", "recipe.batch_size=48"),
)
LABEL: Final = "mnist-tfx/training=true"
JOB_LABEL: Final = "batch.kubernetes.io/job-name"


@contextlib.contextmanager
def training_pods() -> Iterator[None]:
    """The permissions for a training in several pods; afterwards, nothing of it is left."""
    manifests = str(STATE / "manifests" / "project" / "pipeline" / "deploy" / "training")
    kubectl("apply", "--kustomize", manifests)
    try:
        yield
        assert kubectl("get", "jobs,services", "-l", LABEL, "-o", "name") == ""
    finally:
        kubectl("delete", "--kustomize", manifests, "--ignore-not-found")


def trainer_log() -> str:
    """The log of the newest Trainer."""
    pods = json.loads(kubectl("get", "pods", "-l", LABEL, "-o", "json"))
    trainers = [pod for pod in pods["items"] if NODE_NAME in pod["metadata"].get("annotations", {})]
    newest = max(trainers, key=lambda pod: pod["metadata"]["creationTimestamp"])
    return kubectl("logs", newest["metadata"]["name"], "-c", "main")


def test_a_training_in_several_pods(kubeflow: Kubeflow) -> None:
    with training_pods():
        done = kubeflow.submit(
            "--wait", *IN_PODS, *("--param", "recipe.seed=4"), *("--param", "recipe.epochs=18")
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert states(done)[NodeId.TRAINER] == states(done)[NodeId.ATOMIC_PUSHER] == "done"
    assert "starting 2 more training pods" in trainer_log()


def test_a_lost_pod_of_a_training_ends_it(kubeflow: Kubeflow) -> None:
    versions = sorted(MODELS.iterdir())
    deleted: list[str] = []
    is_over = threading.Event()

    def delete() -> None:
        while not deleted and not is_over.wait(1):
            # Before the training starts, there is no pod of it.
            with contextlib.suppress(subprocess.CalledProcessError, ValueError):
                pods = kubectl("get", "pods", "-l", JOB_LABEL, "-o", "name").split()
                if len(pods) == 2 and re.search(r"step \d+ of", trainer_log()):
                    kubectl("delete", pods[1], "--force")
                    deleted.append(pods[1])

    thread = threading.Thread(target=delete, daemon=True)
    with training_pods():
        thread.start()
        try:
            long = ("--param", "recipe.seed=5", "--param", "recipe.epochs=200")
            done = kubeflow.submit("--wait", *IN_PODS, *long)
        finally:
            is_over.set()
            thread.join()
    assert deleted
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"^Trainer failed: .*a training pod was deleted\.$", done.stdout, re.M)
    assert sorted(MODELS.iterdir()) == versions
