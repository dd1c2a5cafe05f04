"""The pods of a run: recorded answers of Kubernetes, behind a server that gives them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from doubles import kfp_api
from werkzeug import Request, Response

from pipeline.kubeflow.cluster import cluster_config
from pipeline.kubeflow.task_pods import TaskPods

RECORDED = Path(__file__).parents[2] / "data" / "kubeflow" / "pods.json"
REJECTED = "mnist-tfx: AnomalyGate rejected: the data has 1 anomaly"
PROBLEMS = {
    "curatedschema": "the image nosuch.invalid/mnist-tfx:1 cannot be pulled; push it, or "
    "correct image and image_pull_secrets in the cluster file.",
    "trainer": "no node can take its pod: 0/1 nodes are available: persistentvolumeclaim "
    '"nosuch" not found. Apply the manifests in pipeline/deploy, or correct '
    "storage.pvc in the cluster file.",
    "transform": 'its container cannot be created: secret "nosuch" not found. Apply the manifests '
    "in pipeline/deploy.",
    "evaluator": "no node can take its pod: 0/1 nodes are available: 1 Insufficient memory. Lower "
    "the requests in the cluster file, or add a node.",
    "statisticsgen": "it needed more memory than its limit, 64M; raise its memory_limit in the "
    "cluster file.",
    "runreport": "it took longer than 3 s; raise timeout_s in the cluster file.",
}


class Kubernetes:
    """Answers as kube-apiserver."""

    def __init__(self) -> None:
        self.status = 200
        self.requests: list[str] = []

    def answer(self, request: Request) -> Response:
        self.requests.append(request.path)
        if self.status != 200:
            return Response("{}", self.status, mimetype="application/json")
        if request.path == "/api/v1/namespaces/kubeflow/pods":
            assert request.args["labelSelector"] == "pipeline/runid=recorded"
            return Response(RECORDED.read_bytes(), mimetype="application/json")
        assert request.path == "/api/v1/namespaces/kubeflow/pods/rec-anomalygate/log"
        assert request.args["container"] == "main"
        return Response(f"noise\n{REJECTED}\n", mimetype="text/plain")


@pytest.fixture
def kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kubernetes]:
    api = Kubernetes()
    with kfp_api.serving(api.answer) as url:
        kubeconfig = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (tmp_path / "config").write_text(json.dumps(kubeconfig))
        monkeypatch.setattr(
            "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config")
        )
        yield api


def _pods() -> TaskPods:
    return TaskPods(cluster_config.load(), "recorded")


def test_the_problem_of_each_pod_is_one_sentence_with_the_cure(kubernetes: Kubernetes) -> None:
    found = _pods().problems()
    assert found.keys() == PROBLEMS.keys(), "a pod that failed or runs has none"
    for task, problem in PROBLEMS.items():
        assert found[task] == problem


def test_the_log_of_a_task_is_that_of_its_pod(kubernetes: Kubernetes) -> None:
    assert _pods().read_log("anomalygate") == ["noise", REJECTED]
    assert _pods().read_log("nosuch") == []


def test_without_permission_nothing_is_found_and_asked_once(kubernetes: Kubernetes) -> None:
    kubernetes.status = 403
    pods = _pods()
    assert (pods.problems(), pods.read_log("anomalygate"), pods.problems()) == ({}, [], {})
    assert len(kubernetes.requests) == 1


def test_a_short_error_is_not_the_end(kubernetes: Kubernetes) -> None:
    pods = _pods()
    assert pods.problems()
    kubernetes.status = 500
    assert pods.problems() == {}
    kubernetes.status = 200
    assert pods.problems()


def test_without_a_kubeconfig_nothing_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none")
    )
    assert _pods().problems() == {}
