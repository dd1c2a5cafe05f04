"""The pods of a training: what is started, which failure is told, and what stays behind."""

import json
import logging
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doubles import kfp_api, trainings
from doubles.kubernetes_api import UID, KubernetesApi
from kubernetes import client, config

from trainer import run, training
from trainer.training import Job
from trainer.workers import failures, pod_manifests, pod_worker, pods, processes
from trainer.workers.failures import Failure, WorkerError
from trainer.workers.pods import WorkerPods

SPLITS = {"train": ["train.gz"], "eval": ["eval.gz"]}
CREATED = ["create jobs", "create services"]
DELETED = ["delete jobs"]
LOST = "UnavailableError: failed to connect to all addresses"


@pytest.fixture
def kubernetes(monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    api = KubernetesApi()
    monkeypatch.setenv(pod_manifests.POD_NAME, api.trainer["metadata"]["name"])
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
    assert not api.faults
    assert not api.created, "something was left behind"


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return trainings.job(
        tmp_path, SPLITS, "graph", workers=3, batch_size=96, distribution="multi_worker"
    )


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings and errors of the training."""
    found = [record for record in caplog.records if record.name == training.__name__]
    return [record.getMessage() for record in found if record.levelno >= logging.WARNING]


def test_the_pods_are_copies_of_the_trainers(
    kubernetes: KubernetesApi, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_grpc_proxy", "example.org")
    kubernetes.pods = [["pending", "pending"], ["running", "pending"], ["running", "running"]]
    with WorkerPods(job) as started:
        assert kubernetes.changes == CREATED
        assert kubernetes.pods == [["running", "running"]], "it waits until all run"
        made, service = kubernetes.created["jobs"], kubernetes.created["services"]
    assert kubernetes.changes == CREATED + DELETED
    name, trainer = made["metadata"]["name"], kubernetes.trainer
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Pod", trainer["metadata"]["uid"])
    (owner,) = service["metadata"]["ownerReferences"]
    assert owner == {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": UID}
    assert service["metadata"]["name"] == name
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    assert (made["spec"]["completions"], made["spec"]["parallelism"]) == (2, 2)
    assert made["spec"]["backoffLimit"] == 0
    assert made["spec"]["activeDeadlineSeconds"] == trainer["spec"]["activeDeadlineSeconds"]
    template = made["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert labels["app.kubernetes.io/part-of"] == "mnist-tfx"
    assert labels["mnist-tfx/training"] == "true"
    assert not [label for label in labels if "argoproj" in label or "kubeflow" in label]
    assert template["spec"]["subdomain"] == name
    assert template["spec"]["serviceAccountName"] == "mnist-tfx"
    assert template["spec"]["automountServiceAccountToken"] is False
    (own,) = (one for one in trainer["spec"]["containers"] if one["name"] == "main")
    (container,) = template["spec"]["containers"]
    for key in ("image", "imagePullPolicy", "resources"):
        assert container[key] == own[key]
    (claim,) = template["spec"]["volumes"]
    assert claim["persistentVolumeClaim"] == {"claimName": "mnist-tfx"}
    (mount,) = container["volumeMounts"]
    assert (mount["name"], mount["mountPath"]) == (claim["name"], "/mnt/mnist-tfx")
    variables = {one["name"]: one.get("value") for one in container["env"]}
    assert set(variables) == {pod_worker.VARIABLE, "no_grpc_proxy"}, "no password, nothing of Argo"
    told = pod_worker.Training.model_validate_json(variables[pod_worker.VARIABLE] or "")
    assert told.job == job
    ip = trainer["status"]["podIP"]
    hosts = [ip, *(f"{name}-{number}.{name}.kubeflow.svc" for number in (0, 1))]
    assert list(told.addresses) == [f"{host}:2222" for host in hosts]
    assert json.loads(started.variables["TF_CONFIG"]) == {
        "cluster": {"worker": list(told.addresses)},
        "task": {"type": "worker", "index": 0},
    }
    assert started.variables["no_grpc_proxy"] == f"example.org,{ip},{name}.kubeflow.svc"


def test_the_settings_of_a_pod_are_copied_and_what_others_wrote_is_not(
    kubernetes: KubernetesApi,
) -> None:
    pod = kubernetes.trainer
    pod["metadata"]["annotations"] |= {
        "sidecar.istio.io/inject": "false",
        "k8s.v1.cni.cncf.io/network-status": "10.0.0.1",
    }
    pod["metadata"]["labels"] |= {"my-pipeline/owner": "me"}
    toleration = {"key": "gpu", "operator": "Exists"}
    pod["spec"] |= {"tolerations": [toleration], "nodeSelector": {"disk": "ssd"}}
    (main,) = (one for one in pod["spec"]["containers"] if one["name"] == "main")
    secret = {"valueFrom": {"secretKeyRef": {"name": "keys", "key": "k"}}}
    main["env"] += [{"name": "GOOGLE_CLOUD_PROJECT", "value": "p"}, {"name": "KEY", **secret}]
    template = pod_manifests.job(pod, "training-1", 1, {})["spec"]["template"]
    assert template["metadata"]["annotations"] == {"sidecar.istio.io/inject": "false"}
    assert template["metadata"]["labels"]["my-pipeline/owner"] == "me"
    assert template["spec"]["tolerations"] == [toleration]
    assert template["spec"]["nodeSelector"] == {"disk": "ssd"}
    (container,) = template["spec"]["containers"]
    assert container["env"] == main["env"][-2:]


@pytest.mark.parametrize(
    ("pod", "sentence"),
    [
        (
            "failed",
            "training process 3 of 3 failed: ValueError: there are 450 training images; a "
            "distributed training needs a whole batch of 480",
        ),
        (
            "out_of_memory",
            "training process 3 of 3 needed more memory than its limit, 6G; raise "
            "memory_limit of the Trainer in the cluster file.",
        ),
        (
            "killed",
            "training process 3 of 3 was killed (signal 9). The usual cause is too little "
            'memory; trainer.distribution = "none" needs less.',
        ),
    ],
)
def test_the_end_of_a_pod_is_one_sentence(
    kubernetes: KubernetesApi,
    job: Job,
    caplog: pytest.LogCaptureFixture,
    pod: str,
    sentence: str,
) -> None:
    with WorkerPods(job) as started:
        assert started.failures() == []
        kubernetes.pods = [["deleted", pod]]
        assert started.failures() == [Failure(sentence)]
        assert started.failures() == [Failure(sentence)]
    assert warnings(caplog) == ["training process 3 of 3: a line of the pod's log"]


def test_deleted_objects_end_the_training(kubernetes: KubernetesApi, job: Job) -> None:
    with WorkerPods(job) as started:
        kubernetes.pods, kubernetes.failed = [["running", "deleted"]], 1
        assert started.failures() == [Failure("a training pod was deleted.")]
        kubernetes.created.clear()
        assert started.failures() == [Failure("the Job of the training pods was deleted.")]


def test_a_short_error_of_kubernetes_is_not_the_end(
    kubernetes: KubernetesApi, job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    with WorkerPods(job) as started:
        kubernetes.errors = {"list pods": 503}
        assert started.failures() == []
        assert warnings(caplog)[-1].startswith("cannot read the state of the training pods: ")
        kubernetes.errors = {"list pods": 403}
        message = "no longer shows the training pods: .* cannot list"
        with pytest.raises(WorkerError, match=message):
            started.failures()


@pytest.mark.parametrize(
    ("shown", "events", "message"),
    [
        (
            ["running", "pending"],
            [
                ("Warning", "the first one"),
                ("Warning", "0/1 nodes are available: 1 Insufficient cpu."),
                ("Normal", "Scheduled"),
            ],
            r"only 1 of 2 training pods are running after 0 s\. Kubernetes about \S+: 0/1 nodes",
        ),
        (["running"], [], r"Kubernetes gives no reason for training-\w+\."),
    ],
)
def test_pods_that_do_not_start_end_the_training(
    kubernetes: KubernetesApi,
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
    shown: list[str],
    events: list[tuple[str, str]],
    message: str,
) -> None:
    monkeypatch.setattr(pods, "START_TIMEOUT_S", 0)
    kubernetes.pods, kubernetes.events = [shown], events
    with pytest.raises(WorkerError, match=message), WorkerPods(job):
        pass
    assert kubernetes.changes == CREATED + DELETED


@pytest.mark.parametrize("kind", ["jobs", "services"])
def test_without_permission_the_message_has_the_cure(
    kubernetes: KubernetesApi, job: Job, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    kubernetes.errors = {f"create {kind}": 403}
    message = (
        r"^Kubernetes did not create the \w+ of the training pods: "
        rf"\"mnist-tfx\" cannot create {kind}\. Apply pipeline/deploy/training\.$"
    )
    with pytest.raises(WorkerError, match=message), WorkerPods(job):
        pass
    assert not warnings(caplog)
    deleted = DELETED if kind == "services" else []
    assert [request for request in kubernetes.changes if request in DELETED] == deleted


@pytest.mark.parametrize(("status", "attempts"), [(403, 1), (503, 3)])
def test_a_job_that_cannot_be_deleted_is_reported(
    kubernetes: KubernetesApi,
    job: Job,
    caplog: pytest.LogCaptureFixture,
    status: int,
    attempts: int,
) -> None:
    kubernetes.errors = {"delete jobs": status}
    with WorkerPods(job):
        pass
    assert kubernetes.changes == CREATED + attempts * DELETED
    (warning,) = warnings(caplog)
    assert warning.startswith("cannot delete the Job training-")
    assert warning.endswith("within 1200 s; Kubernetes deletes the Job 3600 s later.")
    kubernetes.created.clear()


def test_a_job_whose_creation_has_no_answer_is_deleted(kubernetes: KubernetesApi, job: Job) -> None:
    kubernetes.errors = {"create jobs": 504}
    with pytest.raises(WorkerError, match="did not create the Job"), WorkerPods(job):
        pass
    assert kubernetes.changes == ["create jobs", *DELETED]


class Ended:
    """The first process of a training, which has ended early."""

    def __init__(self, code: int, error: str):
        self._code, self._error = code, error

    def __enter__(self) -> "Ended":
        return self

    def __exit__(self, *_: object) -> None: ...

    def poll(self) -> int:
        return self._code

    def failure(self, name: str) -> Failure:
        return failures.describe(name, self._code, self._error)


@pytest.mark.parametrize(
    ("code", "error", "shown", "message"),
    [
        (1, LOST, ["running", "killed"], "^training process 3 of 3 was killed"),
        (
            1,
            "ValueError: no",
            ["running", "lost"],
            "^training process 1 of 3 failed: ValueError: no$",
        ),
        (-9, "", ["running", "lost"], "^training process 1 of 3 was killed"),
        (1, LOST, ["lost", "killed"], "^training process 3 of 3 was killed"),
        (1, LOST, ["running", "running"], "^training process 1 of 3 failed: UnavailableError"),
    ],
)
def test_the_cause_is_told_and_not_what_follows_from_it(
    kubernetes: KubernetesApi,
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    error: str,
    shown: list[str],
    message: str,
) -> None:
    def start(variables: Any, job: Job) -> Ended:
        kubernetes.pods = [shown]
        return Ended(code, error)

    monkeypatch.setattr(processes, "Process", start)
    monkeypatch.setattr(pods, "_LATE_S", 0.5)
    values = job.model_dump(exclude={"hparams"})
    custom_config = {run.HPARAMS: job.hparams.model_dump_json()}
    with pytest.raises(WorkerError, match=message):
        run.run_fn(types.SimpleNamespace(**values, custom_config=custom_config))
