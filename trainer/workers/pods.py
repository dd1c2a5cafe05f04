"""Training in several pods: each process after the first runs in a pod beside the Trainer's.

`pod_manifests.py` describes the pods. They end with their Job, which this module deletes at the
end of the training, and which Kubernetes deletes with the Trainer's pod.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final

import urllib3
from kubernetes import client, config

from trainer import training
from trainer.training import Job
from trainer.workers import endings, pod_manifests, pod_worker, processes, worker
from trainer.workers.endings import WorkerError

START_TIMEOUT_S: Final = 900.0  # a new node of a cluster needs some minutes
_INTERVAL_S: Final = 2.0
_LATE_S: Final = 15.0  # Kubernetes reports the end of a pod that much later than its peers notice
_TIMEOUTS: Final[Any] = {"_request_timeout": (3.0, 10.0)}  # s: of the connection, of the answer
_INDEX: Final = "batch.kubernetes.io/job-completion-index"

_log = logging.getLogger(training.__name__)


def train(job: Job) -> None:
    """Trains in `job.hparams.workers` pods, this one included; see `processes.train`.

    Raises:
      WorkerError: a process failed or was killed, or its pod did not start. The others are stopped.
    """
    with WorkerPods(job) as pods, processes.Process(pods.variables, job) as first:
        while (code := first.poll()) is None:
            if problem := pods.problem():
                raise WorkerError(problem)
            time.sleep(processes.INTERVAL_S)
        if code == 0:
            return
        problem = None if code == -signal.SIGKILL else pods.late_problem()
        raise WorkerError(problem or first.failure(endings.name(0, job.hparams.workers)))


class WorkerPods:
    """The pods of one training, as a context: it starts them, and deletes them at the end.

    Args:
      job: the training.
    """

    def __init__(self, job: Job):
        with _explained("accept the Trainer's account"):
            config.load_incluster_config()
        api = client.ApiClient()
        self._core, self._batch = client.CoreV1Api(api), client.BatchV1Api(api)
        self._namespace = os.environ[pod_manifests.POD_NAMESPACE]
        with _explained("read the Trainer's pod"):
            found = self._core.read_namespaced_pod(
                os.environ[pod_manifests.POD_NAME], self._namespace, **_TIMEOUTS
            )
        pod = api.sanitize_for_serialization(found)
        self._name = f"training-{uuid.uuid4().hex[:8]}"
        self._count = job.hparams.workers
        service = f"{self._name}.{self._namespace}.svc"
        ip = pod["status"]["podIP"]
        hosts = [f"[{ip}]" if ":" in ip else ip]
        hosts += [f"{self._name}-{number}.{service}" for number in range(self._count - 1)]
        addresses = [f"{host}:{pod_manifests.PORT}" for host in hosts]
        told = pod_worker.Training(job=job, addresses=tuple(addresses))
        no_proxy = {"no_grpc_proxy": f"{ip},{service}"}
        self.variables: Mapping[str, str] = {
            **no_proxy,
            "TF_CONFIG": worker.tf_config(addresses, 0),
        }
        """The variables of the first process."""

        variables = {**no_proxy, pod_worker.TRAINING: told.model_dump_json()}
        self._job = pod_manifests.job(pod, self._name, self._count - 1, variables)
        self._service = pod_manifests.service(pod, self._name)
        self._next_look_s = 0.0

    def __enter__(self) -> WorkerPods:
        with contextlib.ExitStack() as undo:
            undo.callback(self._delete)
            with _explained("start the pods of the training"):
                self._core.create_namespaced_service(self._namespace, self._service, **_TIMEOUTS)
                self._batch.create_namespaced_job(self._namespace, self._job, **_TIMEOUTS)
            self._wait()
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._delete()

    def problem(self) -> str | None:
        """Why a process has ended early, in one sentence; looks at the pods every two seconds."""
        if time.monotonic() < self._next_look_s:
            return None
        self._next_look_s = time.monotonic() + _INTERVAL_S
        try:
            pods = self._pods()
            job = self._batch.read_namespaced_job_status(self._name, self._namespace, **_TIMEOUTS)
        except (client.ApiException, urllib3.exceptions.HTTPError) as error:
            _log.warning("Kubernetes does not tell about the pods of the training: %s", error)
            return None
        for pod in pods:
            # Kubernetes deletes the others after one has failed.
            is_deleted = pod.metadata.deletion_timestamp is not None
            if not is_deleted and (problem := self._ending(pod)):
                return problem
        return "a pod of the training was deleted." if job.status.failed else None

    def late_problem(self) -> str | None:
        """The same, after the first process has failed, which may be because of a pod."""
        end_s = time.monotonic() + _LATE_S
        while time.monotonic() < end_s:
            if problem := self.problem():
                return problem
            time.sleep(_INTERVAL_S)
        return None

    def _wait(self) -> None:
        """Waits until all pods run."""
        _log.info("starting %d pods for the training", self._count - 1)
        end_s = time.monotonic() + START_TIMEOUT_S
        while True:
            if problem := self.problem():
                raise WorkerError(problem)
            with _explained("list the pods of the training"):
                pods = self._pods()
            waiting = [pod for pod in pods if pod.status.phase != "Running"]
            if len(pods) == self._count - 1 and not waiting:
                return
            if time.monotonic() > end_s:
                reasons = (f"{self._name_of(pod)}: {_waits_for(pod)}" for pod in waiting)
                raise WorkerError(
                    f"after {START_TIMEOUT_S:.0f} s, {len(pods) - len(waiting)} of "
                    f"{self._count - 1} pods of the training run. "
                    + next(reasons, "Kubernetes made no others.")
                )
            time.sleep(_INTERVAL_S)

    def _pods(self) -> list[Any]:
        found = self._core.list_namespaced_pod(
            self._namespace,
            label_selector=f"{pod_manifests.JOB_NAME}={self._name}",
            **_TIMEOUTS,
        )
        return list(found.items)

    def _name_of(self, pod: Any) -> str:
        return endings.name(int(pod.metadata.annotations[_INDEX]) + 1, self._count)

    def _ending(self, pod: Any) -> str | None:
        """How the process of a pod ended; None if it runs."""
        name = self._name_of(pod)
        if pod.status.reason == "Evicted":
            return f"{name} was ended: Kubernetes evicted its pod: {pod.status.message}"
        for container in pod.status.container_statuses or []:
            ended = container.state.terminated
            if ended is None:
                continue
            if ended.reason == "OOMKilled":
                limit = self._job["spec"]["template"]["spec"]["containers"][0]["resources"]
                return (
                    f"{name} needed more memory than its limit, "
                    f"{limit.get('limits', {}).get('memory', 'that of its node')}; raise "
                    "memory_limit of the Trainer in the cluster file."
                )
            code = ended.exit_code if ended.exit_code < 128 else 128 - ended.exit_code
            return endings.describe(name, code, _last_error(ended.message or ""))
        return None

    def _delete(self) -> None:
        for delete in (self._batch.delete_namespaced_job, self._core.delete_namespaced_service):
            try:
                delete(self._name, self._namespace, propagation_policy="Background", **_TIMEOUTS)
            except (client.ApiException, urllib3.exceptions.HTTPError) as error:
                if getattr(error, "status", None) != 404:  # it was not created
                    _log.warning("%s stays until the Trainer's pod is gone: %s", self._name, error)


def _last_error(log: str) -> str:
    """The reason in the last lines of a log; empty if there is none."""
    for line in reversed(log.splitlines()):
        with contextlib.suppress(ValueError):
            match json.loads(line):
                case {"error": str(error)}:
                    return error
    return ""


def _waits_for(pod: Any) -> str:
    """Why a pod does not run, in one sentence."""
    for condition in pod.status.conditions or []:
        if condition.status == "False" and condition.reason == "Unschedulable":
            return f"no node can take its pod: {condition.message}"
    for container in pod.status.container_statuses or []:
        if waiting := container.state.waiting:
            return f"its container waits: {waiting.reason}: {waiting.message or 'no message'}"
    return f"its pod is {pod.status.phase.lower()}."


@contextlib.contextmanager
def _explained(action: str) -> Iterator[None]:
    """Raises WorkerError for what Kubernetes answers."""
    try:
        yield
    except client.ApiException as error:
        reason = error.reason
        with contextlib.suppress(ValueError, TypeError):
            reason = json.loads(error.body)["message"]
        cure = " Apply pipeline/deploy/training." if error.status == 403 else ""
        raise WorkerError(f"Kubernetes did not {action}: {reason}.{cure}") from error
    except (config.ConfigException, urllib3.exceptions.HTTPError) as error:
        raise WorkerError(f"Kubernetes did not {action}: {error}") from error
