"""The pods of a run, as Kubernetes sees them: their logs, and why one does not start or was ended.

Kubeflow's API reports a pod that waits for its image as pending, and one that was killed as
failed, without a reason. Kubernetes has the reasons, if the current context of the kubeconfig may
list pods; without one, this module finds nothing.
"""

from __future__ import annotations

import re
from typing import Any, Final

import urllib3
import yaml
from kubernetes import client, config

from pipeline.kubeflow.cluster.cluster_config import ClusterConfig

_RUN_LABEL: Final = "pipeline/runid"  # Kubeflow's
_NODE_NAME: Final = "workflows.argoproj.io/node-name"  # Argo's, such as a(0).root(0).trainer(0)...
_TASK: Final = re.compile(r"\.(?P<task>[a-z0-9-]+)(\(\d+\))?\.executor")
_MAIN: Final = "main"  # Argo's name of the container that runs the task
_LOG_LINES: Final = 200  # the launcher writes some after the last line of the node
_TIMEOUTS_S: Final = (3.0, 10.0)  # of the connection, and of the answer
_PULL_REASONS: Final = ("ErrImagePull", "ImagePullBackOff")  # Kubernetes alternates them
_IMAGE_REASONS: Final = ("InvalidImageName", "ErrImageNeverPull")
_CREATION_REASONS: Final = (
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
)


class TaskPods:
    """The pods of one run.

    Args:
      cluster: the namespace, and the context in the kubeconfig.
      run_id: the run.
    """

    def __init__(self, cluster: ClusterConfig, run_id: str):
        self._namespace = cluster.namespace
        self._run_id = run_id
        self._core = _connect(cluster.server.kube_context)
        self._has_answered = False

    def problems(self) -> dict[str, str]:
        """The problem of each task's newest pod and the cure, in one sentence."""
        found = {task: _problem(pod) for task, pod in self._newest().items()}
        return {task: problem for task, problem in found.items() if problem}

    def read_log(self, task: str) -> list[str]:
        """The last lines of the log of a task's newest pod; none if they are not available."""
        pod = self._newest().get(task)
        if self._core is None or pod is None:
            return []
        try:
            text: str = self._core.read_namespaced_pod_log(
                pod.metadata.name,
                self._namespace,
                container=_MAIN,
                tail_lines=_LOG_LINES,
                _request_timeout=_TIMEOUTS_S,
            )
        except (client.ApiException, urllib3.exceptions.HTTPError):
            return []
        return text.splitlines()

    def _newest(self) -> dict[str, Any]:
        """The newest pod of each task."""
        if self._core is None:
            return {}
        try:
            pods = self._core.list_namespaced_pod(
                self._namespace,
                label_selector=f"{_RUN_LABEL}={self._run_id}",
                _request_timeout=_TIMEOUTS_S,
            ).items
        except (client.ApiException, urllib3.exceptions.HTTPError) as error:
            if not self._has_answered or getattr(error, "status", None) in (401, 403):
                self._core = None  # not this user's: each further try would cost seconds
            return {}
        self._has_answered = True
        newest: dict[str, Any] = {}
        for pod in sorted(pods, key=lambda pod: pod.metadata.creation_timestamp):
            match = _TASK.search((pod.metadata.annotations or {}).get(_NODE_NAME, ""))
            if match:
                newest[match["task"]] = pod
        return newest


def _connect(context: str) -> client.CoreV1Api | None:
    """Kubernetes, by the kubeconfig or, in a pod, by its service account; None without both."""
    try:
        return client.CoreV1Api(config.new_client_from_config(context=context or None))
    except (config.ConfigException, yaml.YAMLError, OSError):
        configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
    except (config.ConfigException, OSError):
        return None
    return client.CoreV1Api(client.ApiClient(configuration))


def _problem(pod: Any) -> str:
    """The problem of a pod in one sentence; empty if there is none."""
    status = pod.status
    if status.reason == "DeadlineExceeded":
        limit_s = pod.spec.active_deadline_seconds
        return f"it took longer than {limit_s} s; raise timeout_s in the cluster file."
    if status.reason == "Evicted":
        return f"Kubernetes evicted its pod: {_sentence(status.message)}"
    for condition in status.conditions or []:
        if condition.type == "PodScheduled" and condition.reason == "Unschedulable":
            return _unschedulable(_sentence(condition.message))
    statuses = [*(status.init_container_statuses or []), *(status.container_statuses or [])]
    problems = (_container_problem(pod, container) for container in statuses)
    return next(filter(None, problems), "")


def _unschedulable(message: str) -> str:
    cure = ""
    if "persistentvolumeclaim" in message.lower():
        cure = (
            " Apply the manifests in pipeline/deploy, or correct storage.pvc in the cluster file."
        )
    elif "Insufficient" in message:
        cure = " Lower the requests in the cluster file, or add a node."
    return f"no node can take its pod: {message}{cure}"


def _container_problem(pod: Any, container: Any) -> str:
    waiting, ended = container.state.waiting, container.state.terminated
    if waiting and waiting.reason in _PULL_REASONS:
        return (
            f"the image {container.image} cannot be pulled; push it, or correct image and "
            "image_pull_secrets in the cluster file."
        )
    if waiting and waiting.reason in _IMAGE_REASONS:
        return (
            f"the image {container.image} cannot be used ({waiting.reason}); correct image and "
            "image_pull_policy in the cluster file."
        )
    if waiting and waiting.reason in _CREATION_REASONS:
        cure = (
            " Apply the manifests in pipeline/deploy."
            if "not found" in (waiting.message or "")
            else ""
        )
        return f"its container cannot be created: {_sentence(waiting.message)}{cure}"
    if ended and ended.reason == "OOMKilled" and container.name == _MAIN:
        (main,) = (found for found in pod.spec.containers if found.name == _MAIN)
        limit = (main.resources.limits or {}).get("memory")
        if limit is None:
            return (
                "it needed more memory than its node has free; set its memory_request in the "
                "cluster file, so that it gets a node with enough memory."
            )
        return (
            f"it needed more memory than its limit, {limit}; raise its memory_limit in the cluster "
            "file."
        )
    return ""


def _sentence(message: str | None) -> str:
    """The first sentence; the scheduler adds others that explain what it did not try."""
    first = (message or "no reason is given").strip().splitlines()[0]
    return first.partition(". ")[0].removesuffix(".") + "."
