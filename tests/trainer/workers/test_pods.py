"""The pods of a training: what is started, how the end of one is told, and what stays behind."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from doubles import kfp_api, trainings
from doubles.kubernetes_api import KubernetesApi
from kubernetes import client, config

from trainer import run
from trainer.training import Job
from trainer.workers import pod_manifests, pod_worker, pods, processes
from trainer.workers.endings import WorkerError
from trainer.workers.pods import WorkerPods

SPLITS = {"train": ["train.gz"], "eval": ["eval.gz"]}
STARTED = ["POST services", "POST jobs"]
DELETED = ["DELETE jobs", "DELETE services"]


@pytest.fixture
def kubernetes(monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    api = KubernetesApi()
    monkeypatch.setenv(pod_manifests.POD_NAME, api.recorded["trainer"]["metadata"]["name"])
    monkeypatch.setenv(pod_manifests.POD_NAMESPACE, "kubeflow")
    monkeypatch.setattr(pods, "_INTERVAL_S", 0.0)
    with kfp_api.serving(api.answer) as url:
        configuration = client.Configuration(host=url)
        monkeypatch.setattr(
            config,
            "load_incluster_config",
            lambda: client.Configuration.set_default(configuration),
        )
        yield api
    client.Configuration.set_default(None)
    assert not api.created, "something was left behind"


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return trainings.job(tmp_path, SPLITS, "graph", workers=3, batch_size=96)


def test_the_pods_are_made_after_the_trainers(kubernetes: KubernetesApi, job: Job) -> None:
    kubernetes.statuses = [["pending", "pending"], ["running", "pending"], ["running", "running"]]
    with WorkerPods(job) as started:
        assert kubernetes.history == STARTED
        assert kubernetes.statuses == [["running", "running"]], "it waits until all run"
        made, service = kubernetes.created["jobs"], kubernetes.created["services"]
    assert kubernetes.history == STARTED + DELETED
    name = made["metadata"]["name"]
    trainer = kubernetes.recorded["trainer"]
    assert service["metadata"] == made["metadata"]
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    (owner,) = made["metadata"]["ownerReferences"]
    assert owner["uid"] == trainer["metadata"]["uid"]
    assert (made["spec"]["completions"], made["spec"]["parallelism"]) == (2, 2)
    assert made["spec"]["backoffLimit"] == 0
    template = made["spec"]["template"]
    assert template["metadata"]["labels"] == {
        "app.kubernetes.io/part-of": "mnist-tfx",
        "app.kubernetes.io/component": "training",
    }
    assert template["spec"]["subdomain"] == name
    assert template["spec"]["automountServiceAccountToken"] is False
    (own,) = (one for one in trainer["spec"]["containers"] if one["name"] == "main")
    (container,) = template["spec"]["containers"]
    assert container["resources"] == own["resources"]
    assert container["image"] == own["image"]
    (claim,) = template["spec"]["volumes"]
    assert claim["persistentVolumeClaim"] == {"claimName": "mnist-tfx"}
    (mount,) = container["volumeMounts"]
    assert (mount["name"], mount["mountPath"]) == (claim["name"], "/mnt/mnist-tfx")
    variables = {one["name"]: one.get("value") for one in container["env"]}
    assert set(variables) == {pod_worker.TRAINING, "no_grpc_proxy"}, "no password, no Argo"
    told = pod_worker.Training.model_validate_json(variables[pod_worker.TRAINING] or "")
    assert told.job == job
    ip = trainer["status"]["podIP"]
    hosts = [ip, *(f"{name}-{number}.{name}.kubeflow.svc" for number in (0, 1))]
    assert list(told.addresses) == [f"{host}:2222" for host in hosts]
    place = json.loads(started.variables["TF_CONFIG"])
    assert place == {
        "cluster": {"worker": list(told.addresses)},
        "task": {"type": "worker", "index": 0},
    }
    assert started.variables["no_grpc_proxy"] == f"{ip},{name}.kubeflow.svc"


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (
            "failed",
            "process 2 of 3 of the training failed: ValueError: there are 600 training images; a "
            "distributed training needs a whole batch of 960",
        ),
        (
            "out_of_memory",
            "process 2 of 3 of the training needed more memory than its limit, 6G; raise "
            "memory_limit of the Trainer in the cluster file.",
        ),
        ("killed", "process 2 of 3 of the training was killed (signal 9)."),
    ],
)
def test_the_end_of_a_pod_is_one_sentence(
    kubernetes: KubernetesApi, job: Job, status: str, sentence: str
) -> None:
    kubernetes.statuses = [["running", "running"]]
    with WorkerPods(job) as started:
        assert started.problem() is None
        kubernetes.statuses = [["deleted", status]]
        problem = started.problem()
    assert problem is not None
    assert problem.startswith(sentence)


def test_a_deleted_pod_ends_the_training(kubernetes: KubernetesApi, job: Job) -> None:
    kubernetes.statuses = [["running", "running"]]
    with WorkerPods(job) as started:
        kubernetes.statuses, kubernetes.failed = [["deleted", "deleted"]], 1
        assert started.problem() == "a pod of the training was deleted."


def test_pods_that_do_not_start_end_the_training(
    kubernetes: KubernetesApi, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pods, "START_TIMEOUT_S", 0.5)
    kubernetes.statuses = [["running", "unschedulable"]]
    message = (
        "after 0 s, 1 of 2 pods of the training run. process 2 of 3 of the training: no node can "
        "take its pod: 0/1 nodes are available: 1 Insufficient "
    )
    with pytest.raises(WorkerError, match=message), WorkerPods(job):
        pass
    assert kubernetes.history == STARTED + DELETED


def test_without_permission_the_message_has_the_cure(kubernetes: KubernetesApi, job: Job) -> None:
    kubernetes.forbidden = "jobs"
    message = (
        "Kubernetes did not start the pods of the training: jobs is forbidden: .*"
        r"\. Apply pipeline/deploy/training\.$"
    )
    with pytest.raises(WorkerError, match=message), WorkerPods(job):
        pass
    assert kubernetes.history == STARTED + DELETED, "the service was made"


@pytest.mark.parametrize(
    ("code", "statuses", "message"),
    [
        (1, [["running", "running"], ["running", "failed"]], "process 2 of 3 .* ValueError"),
        (-9, [["running", "running"]], "process 1 of 3 of the training was the one"),
    ],
)
def test_the_cause_is_told_and_not_what_follows_from_it(
    kubernetes: KubernetesApi,
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    statuses: list[list[str]],
    message: str,
) -> None:
    class Ended:
        """The first process, which has ended at once."""

        def __init__(self, *_: Any) -> None: ...

        def __enter__(self) -> "Ended":
            kubernetes.statuses = statuses
            return self

        def __exit__(self, *_: object) -> None: ...

        def poll(self) -> int:
            return code

        def failure(self, name: str) -> str:
            return f"{name} was the one"

    monkeypatch.setattr(processes, "Process", Ended)
    kubernetes.statuses = [["running", "running"]]
    values = job.model_dump(exclude={"hparams"})
    recipe = job.hparams.model_copy(update={"distribution": "multi_worker"})
    custom_config = {run.HPARAMS: recipe.model_dump_json()}
    with pytest.raises(WorkerError, match=message):
        run.run_fn(SimpleNamespace(**values, custom_config=custom_config))
