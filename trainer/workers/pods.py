"""Training in several pods: each process after the first runs in a pod of its own.

The first process runs in the Trainer's pod. `pod_manifests.py` describes the others, and
`pod_worker.py` is their program.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from kubernetes import client, config
from pydantic import ValidationError

from trainer import training
from trainer.training import Job
from trainer.workers import failures, pod_manifests, pod_worker, processes, worker
from trainer.workers.failures import Failure, WorkerError
from trainer.workers.kubernetes_errors import DENIED, ERRORS, explained, reason_of, status_of

START_TIMEOUT_S: Final = 900  # adding a node to a cluster takes several minutes
_INTERVAL_S: Final = 2.0
_LATE_S: Final = 15.0  # Kubernetes reports the end of a pod after other processes have noticed it
_TIMEOUTS: Final[Any] = {"_request_timeout": (3.0, 10.0)}  # s: of the connection, of the answer
_DELETE_ATTEMPTS: Final = 3
_LOG_LINES: Final = 100
_INDEX: Final = "batch.kubernetes.io/job-completion-index"
_NO_PROXY: Final = "no_grpc_proxy"
_SIGNALS: Final = range(129, 160)  # exit codes of a container that a signal ended: 128 + signal

_log = logging.getLogger(training.__name__)


def train(job: Job) -> None:
    """Trains in `job.hparams.workers` pods, this one included; see `processes.train`.

    Raises:
      WorkerError: a process failed or was killed, or its pod did not start. The others are stopped.
    """
    with WorkerPods(job) as pods, processes.Process(pods.variables, job) as first:
        while first.poll() is None and not pods.failures():
            time.sleep(processes.INTERVAL_S)
        if first.poll() == 0:
            return
        raise WorkerError(_cause(pods, first, job).sentence)


def _cause(pods: WorkerPods, first: processes.Process, job: Job) -> Failure:
    """The failure that made the other processes fail; waits until it is known."""
    end_s = time.monotonic() + _LATE_S
    own: Failure | None = None
    while True:
        if own is None and first.poll() is not None:
            own = first.failure(failures.process_name(0, job.hparams.workers))
        found = [*filter(None, [own]), *pods.failures()]
        if any(failure.is_cause for failure in found) or time.monotonic() > end_s:
            return failures.root_cause(found)
        time.sleep(_INTERVAL_S)


class WorkerPods:
    """The pods of one training, as a context: it starts them, and deletes them at the end.

    Args:
      job: the training.
    """

    def __init__(self, job: Job):
        try:
            config.load_incluster_config()
        except config.ConfigException as error:
            raise WorkerError(f"the Trainer's pod has no token for Kubernetes: {error}") from error
        self._api = client.ApiClient()
        self._core, self._batch = client.CoreV1Api(self._api), client.BatchV1Api(self._api)
        self._namespace = os.environ[pod_manifests.POD_NAMESPACE]
        own = os.environ[pod_manifests.POD_NAME]
        with explained("did not show the Trainer's pod"):
            found = self._core.read_namespaced_pod(own, self._namespace, **_TIMEOUTS)
        self._trainer = {**self._json(found), "apiVersion": "v1", "kind": "Pod"}
        self._name = f"training-{uuid.uuid4().hex[:8]}"
        self._count = job.hparams.workers
        service = f"{self._name}.{self._namespace}.svc"
        ip = self._trainer["status"]["podIP"]
        hosts = [f"[{ip}]" if ":" in ip else ip]
        hosts += [f"{self._name}-{number}.{service}" for number in range(self._count - 1)]
        addresses = [f"{host}:{pod_manifests.PORT}" for host in hosts]
        # A proxy for gRPC would be asked for the addresses of the pods.
        direct = ",".join(filter(None, (os.environ.get(_NO_PROXY), ip, service)))
        self.variables: Mapping[str, str] = {
            _NO_PROXY: direct,
            "TF_CONFIG": worker.tf_config(addresses, 0),
        }
        """The variables of the first process."""

        told = pod_worker.Training(job=job, addresses=tuple(addresses))
        variables = {_NO_PROXY: direct, pod_worker.VARIABLE: told.model_dump_json()}
        self._job = pod_manifests.job(self._trainer, self._name, self._count - 1, variables)
        self._pods: Sequence[Any] = ()
        self._failures: list[Failure] = []
        self._logged: set[str] = set()
        self._next_look_s = 0.0

    def __enter__(self) -> WorkerPods:
        with contextlib.ExitStack() as undo:
            with explained("did not create the Job of the training pods"):
                made = self._create()
            undo.callback(self._delete)
            job = {**self._json(made), "apiVersion": "batch/v1", "kind": "Job"}
            service = pod_manifests.service(self._trainer, job)
            with explained("did not create the service of the training pods"):
                self._core.create_namespaced_service(self._namespace, service, **_TIMEOUTS)
            self._wait()
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._delete()

    def failures(self) -> list[Failure]:
        """How processes ended early; looks at the pods every two seconds.

        Raises:
          WorkerError: Kubernetes no longer shows the pods to this account.
        """
        if time.monotonic() >= self._next_look_s:
            self._next_look_s = time.monotonic() + _INTERVAL_S
            self._look()
        return self._failures

    def _wait(self) -> None:
        """Waits until all pods run."""
        wanted = self._count - 1
        _log.info("starting %d more training pods", wanted)
        end_s = time.monotonic() + START_TIMEOUT_S
        while True:
            if found := self.failures():
                raise WorkerError(failures.root_cause(found).sentence)
            waiting = [pod for pod in self._pods if pod.status.phase != "Running"]
            running = len(self._pods) - len(waiting)
            if running == wanted:
                return
            if time.monotonic() > end_s:
                missing = waiting[0].metadata.name if waiting else self._name
                raise WorkerError(
                    f"only {running} of {wanted} training pods are running after "
                    f"{START_TIMEOUT_S} s. {self._warning(missing)}"
                )
            time.sleep(_INTERVAL_S)

    def _look(self) -> None:
        """Reads the pods and the Job."""
        try:
            # The Job first: a pod that fails in between is not taken for a deleted one.
            job = self._batch.read_namespaced_job_status(self._name, self._namespace, **_TIMEOUTS)
            selector = f"{pod_manifests.JOB_NAME}={self._name}"
            self._pods = self._core.list_namespaced_pod(
                self._namespace, label_selector=selector, **_TIMEOUTS
            ).items
        except ERRORS as error:
            status = status_of(error)
            if status in DENIED:
                message = f"Kubernetes no longer shows the training pods: {reason_of(error)}"
                raise WorkerError(message) from error
            if status == 404:
                self._failures = [Failure("the Job of the training pods was deleted.")]
            else:
                _log.warning(
                    "cannot read the state of the training pods: %s",
                    reason_of(error),
                )
            return
        # Kubernetes deletes the other pods after one has failed.
        ended = [pod for pod in self._pods if pod.metadata.deletion_timestamp is None]
        self._failures = [found for pod in ended if (found := self._failure(pod))]
        if job.status.failed and not self._failures:
            self._failures = [Failure("a training pod was deleted.")]

    def _failure(self, pod: Any) -> Failure | None:
        """How the process of a pod ended; None if it runs."""
        index = int(pod.metadata.annotations[_INDEX]) + 1
        name = failures.process_name(index, self._count)
        if pod.status.reason:  # such as Evicted, NodeShutdown
            reason = pod.status.message or pod.status.reason
            return Failure(f"{name} was ended by Kubernetes: {reason.rstrip('.')}.")
        for container in pod.status.container_statuses or []:
            ended = container.state.terminated
            if ended and container.name == pod_manifests.MAIN:
                self._keep_log(pod, name)
                return self._ending(name, ended)
        return None

    def _ending(self, name: str, ended: Any) -> Failure:
        """How the container of a process ended."""
        if ended.reason == "OOMKilled":
            (container,) = self._job["spec"]["template"]["spec"]["containers"]
            limit = container.get("resources", {}).get("limits", {}).get("memory")
            needed = f"its limit, {limit}" if limit else "its node has free"
            return Failure(
                f"{name} needed more memory than {needed}; raise memory_limit of the Trainer in "
                "the cluster file."
            )
        try:
            told = pod_worker.Ending.model_validate_json(ended.message or "")
        except ValidationError:  # it did not end by itself
            code = ended.exit_code
            return failures.describe(name, 128 - code if code in _SIGNALS else code, "")
        return failures.describe(name, told.code, told.error)

    def _keep_log(self, pod: Any, name: str) -> None:
        """Copies the end of a pod's log into the Trainer's, once."""
        if pod.metadata.name in self._logged:
            return
        self._logged.add(pod.metadata.name)
        with contextlib.suppress(*ERRORS):
            text = self._core.read_namespaced_pod_log(
                pod.metadata.name, self._namespace, tail_lines=_LOG_LINES, **_TIMEOUTS
            )
            for line in text.splitlines():
                _log.error("%s: %s", name, line)

    def _warning(self, name: str) -> str:
        """The newest warning of Kubernetes about the Job or a pod."""
        with contextlib.suppress(*ERRORS):
            events = self._core.list_namespaced_event(
                self._namespace, field_selector=f"involvedObject.name={name}", **_TIMEOUTS
            ).items
            found = [event for event in events if event.type == "Warning"]
            if found:
                return f"Kubernetes about {name}: {max(found, key=_last_seen).message}"
        return f"Kubernetes gives no reason for {name}."

    def _create(self) -> Any:
        """Creates the Job."""
        try:
            return self._batch.create_namespaced_job(self._namespace, self._job, **_TIMEOUTS)
        except ERRORS as error:
            if status_of(error) not in DENIED:  # it may exist, or appear later
                self._delete(may_appear=True)
            raise

    def _delete(self, *, may_appear: bool = False) -> None:
        """Deletes the Job, and with it the pods and the service.

        Args:
          may_appear: whether the Job may be created after a first attempt did not find it.
        """
        for attempt in range(_DELETE_ATTEMPTS):
            if attempt:
                time.sleep(_INTERVAL_S)
            try:
                self._batch.delete_namespaced_job(
                    self._name, self._namespace, propagation_policy="Background", **_TIMEOUTS
                )
                return
            except ERRORS as error:
                status, reason = status_of(error), reason_of(error).rstrip(".")
            if status in DENIED or (status == 404 and not may_appear):
                break
        if status != 404:
            _log.warning(
                "cannot delete the Job %s: %s. Its pods end by themselves, within %.0f s; "
                "Kubernetes deletes the Job %d s later.",
                self._name,
                reason,
                pod_worker.START_TIMEOUT_S,
                pod_manifests.KEPT_AFTER_END_S,
            )

    def _json(self, found: Any) -> dict[str, Any]:
        content: dict[str, Any] = self._api.sanitize_for_serialization(found)
        return content


def _last_seen(event: Any) -> datetime:
    """When an event occurred last."""
    repeated = event.series and event.series.last_observed_time
    found: datetime = (
        repeated or event.last_timestamp or event.event_time or event.metadata.creation_timestamp
    )
    return found
