"""Kubeflow Pipelines' API, through kfp.Client: submit runs, follow them, schedule them.

Whatever goes wrong between here and the server is one `ClusterError`, in one sentence
with the cure. Nothing here knows of TFX.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import ssl
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import kfp
import kfp_server_api
import urllib3
from kfp_server_api import V2beta1PipelineTaskDetail as TaskDetail
from kfp_server_api import V2beta1RecurringRun as RecurringRun
from kfp_server_api import V2beta1Run as Run
from kubernetes import config as kubeconfig

from pipeline.cluster import ClusterConfig, ScheduleConfig
from pipeline.errors import ClusterError, ConfigError
from pipeline.events import NodeChanged, NodeState
from pipeline.runners.compiled_pipeline import CompiledPipeline

ENDPOINT_VARIABLE: Final = "KF_PIPELINES_ENDPOINT"
PAGE_SIZE: Final = 100
POLL_INTERVAL_S: Final = 2.0
UNREACHABLE_TOLERANCE_S: Final = 60.0  # how long a run is followed without an answer
LOG_TIMEOUT_S: Final = 10.0
LOG_PREFIX: Final = "mnist-tfx: "  # of the line that a task's log ends with

_STATES: Final[Mapping[str, NodeState]] = {
    "RUNNING": "running",
    "CANCELING": "running",
    "PAUSED": "running",
    "SUCCEEDED": "done",
    "FAILED": "failed",
    "CANCELED": "failed",
}
_FINAL_STATES: Final = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


class SubmittedRun(NamedTuple):
    """A run on the server."""

    run_id: str
    url: str
    """Its page for people."""


class KubeflowClient:
    """One server, one user.

    Args:
      cluster: where the server is and what to sign in with.
      environment: the environment variables; tokens and cookies are nowhere else.

    Raises:
      ConfigError: nothing says where the server is.
      ClusterError: it cannot be reached, refuses, or is not Kubeflow Pipelines v2.
    """

    def __init__(self, cluster: ClusterConfig, environment: Mapping[str, str] = os.environ):
        server = cluster.server
        self._cluster = cluster
        self._host = server.host or environment.get(ENDPOINT_VARIABLE, "")
        self._token = environment.get(server.token_env)
        self._cookies = environment.get(server.cookies_env)
        if not self._host:
            _check_kubeconfig(server.kube_context, environment)
        with self._explained():
            try:
                self._client = _Client(
                    host=self._host or None,
                    ui_host=server.ui_host or None,
                    namespace=server.install_namespace,
                    existing_token=self._token,
                    cookies=self._cookies,
                    ssl_ca_cert=server.ca_cert or None,
                    kube_context=server.kube_context or None,
                    verify_ssl=server.verify_tls,
                )
                multi_user = self._client.get_kfp_healthz().multi_user
            except kfp_server_api.ApiException as error:
                if error.status != 404:
                    raise
                raise ClusterError(
                    f"{self._where} has no API v2beta1 (404): Kubeflow Pipelines 2 is needed; "
                    "check the host, too, which is what comes before /apis in its addresses."
                ) from error
        if multi_user is None:  # a page that asks to sign in, for example
            raise ClusterError(
                f"{self._where} answers, but not as Kubeflow Pipelines does: is it a sign-in page? "
                f"Then put the cookies of a signed-in browser into {server.cookies_env}."
            )
        self._namespace = cluster.namespace if multi_user else None

    def submit(
        self, pipeline: CompiledPipeline, run_name: str, parameters: Mapping[str, Any]
    ) -> SubmittedRun:
        """Starts a run; makes the experiment, the pipeline and its version where they are missing.

        Args:
          pipeline: what to run.
          run_name: the run's name, for people.
          parameters: values of the pipeline's parameters.
        """
        with self._explained():
            experiment = self._experiment()
            pipeline_id, version_id = self._upload(pipeline)
            run = self._client.run_pipeline(
                experiment_id=experiment,
                job_name=run_name,
                params=dict(parameters),
                pipeline_id=pipeline_id,
                version_id=version_id,
                service_account=self._cluster.service_account or None,
            )
        return SubmittedRun(run.run_id, self._page(f"runs/details/{run.run_id}"))

    def follow(
        self,
        run_id: str,
        nodes: Mapping[str, str],
        on_event: Callable[[NodeChanged], None],
        interval_s: float = POLL_INTERVAL_S,
    ) -> tuple[str, list[NodeChanged]]:
        """Waits for a run to end.

        Args:
          run_id: the run.
          nodes: the node of each KFP task.
          on_event: called when a node starts or ends.
          interval_s: how often to look.

        Returns:
          The run's state, and the nodes that failed; a failed node's message is the last line
          of its log, where the server lets it be read.

        Raises:
          ClusterError: the server refused, or gave no answer for `UNREACHABLE_TOLERANCE_S`.
        """
        seen: dict[str, NodeState] = {}
        failed: list[NodeChanged] = []
        answered_s = time.monotonic()
        while True:
            try:
                with self._explained():
                    run: Run = self._client.get_run(run_id)
                answered_s = time.monotonic()
            except UnreachableError:
                if time.monotonic() - answered_s > UNREACHABLE_TOLERANCE_S:
                    raise
            else:
                details = (run.run_details.task_details if run.run_details else None) or []
                for detail in details:
                    node = nodes.get(detail.display_name)
                    state = _STATES.get(detail.state or "")
                    if node is None or state is None or seen.get(node) == state:
                        continue
                    seen[node] = state
                    event = NodeChanged(node=node, state=state, seconds=_seconds(detail))
                    if state == "failed":
                        message = self._last_words(detail, details) or ""
                        event = event.model_copy(update={"message": message})
                        failed.append(event)
                    on_event(event)
                if run.state in _FINAL_STATES:
                    return run.state, failed
            time.sleep(interval_s)

    def create_schedule(
        self,
        pipeline: CompiledPipeline,
        name: str,
        schedule: ScheduleConfig,
        parameters: Mapping[str, Any],
    ) -> str:
        """Starts a recurring run, and returns its id; the arguments are those of `submit`.

        Raises:
          ClusterError: there is a schedule of that name already.
        """
        if any(found.display_name == name for found in self.schedules()):
            raise ClusterError(
                f"there is a schedule {name} already: delete it first with mnist-tfx schedule "
                f"delete {name}, or give this one another --name."
            )
        with self._explained():
            pipeline_id, version_id = self._upload(pipeline)
            created: RecurringRun = self._client.create_recurring_run(
                experiment_id=self._experiment(),
                job_name=name,
                description=f"version {pipeline.version}",
                cron_expression=schedule.cron,
                max_concurrency=schedule.max_concurrency,
                no_catchup=not schedule.catch_up,
                params=dict(parameters),
                pipeline_id=pipeline_id,
                version_id=version_id,
                service_account=self._cluster.service_account or None,
            )
        return str(created.recurring_run_id)

    def schedules(self) -> list[RecurringRun]:
        """The recurring runs in the namespace, the newest first."""
        found: list[RecurringRun] = []
        token = ""
        while True:
            with self._explained():
                page = self._client.list_recurring_runs(
                    page_token=token,
                    page_size=PAGE_SIZE,
                    sort_by="created_at desc",
                    namespace=self._namespace,
                )
            found += page.recurring_runs or []
            token = page.next_page_token
            if not token:
                return found

    def pause_schedule(self, name: str) -> None:
        """Starts no more runs of a schedule, named by its name or its id."""
        schedule = self._find_schedule(name)
        with self._explained():
            self._client.disable_recurring_run(schedule.recurring_run_id)

    def resume_schedule(self, name: str) -> None:
        """Starts runs of a paused schedule again."""
        schedule = self._find_schedule(name)
        with self._explained():
            self._client.enable_recurring_run(schedule.recurring_run_id)

    def delete_schedule(self, name: str) -> None:
        """Deletes a schedule; runs that it started go on."""
        schedule = self._find_schedule(name)
        with self._explained():
            self._client.delete_recurring_run(schedule.recurring_run_id)

    @property
    def _where(self) -> str:
        return f"Kubeflow Pipelines at {self._host}" if self._host else "Kubeflow Pipelines"

    def _page(self, path: str) -> str:
        host = self._cluster.server.ui_host or self._host
        return f"{host.rstrip('/')}/#/{path}" if host else f"#/{path} in Kubeflow's UI"

    def _experiment(self) -> str:
        experiment = self._client.create_experiment(
            self._cluster.experiment, namespace=self._namespace
        )
        return str(experiment.experiment_id)

    def _upload(self, pipeline: CompiledPipeline) -> tuple[str, str]:
        """The ids of the pipeline and of the version, which are made where they are missing."""
        name, version = pipeline.name, pipeline.version
        listed = self._client.list_pipelines(filter=_named(name), namespace=self._namespace)
        if listed.pipelines:
            pipeline_id = listed.pipelines[0].pipeline_id
        else:
            made = self._client.pipelines.pipeline_service_create_pipeline(
                kfp_server_api.V2beta1Pipeline(display_name=name, namespace=self._namespace)
            )
            pipeline_id = made.pipeline_id
        versions = self._client.list_pipeline_versions(pipeline_id, filter=_named(version))
        if versions.pipeline_versions:
            return pipeline_id, versions.pipeline_versions[0].pipeline_version_id
        with tempfile.TemporaryDirectory(prefix="upload-") as folder:
            path = Path(folder) / f"{name}.yaml"
            path.write_text(pipeline.yaml, encoding="utf-8")
            uploaded = self._client.upload_pipeline_version(
                str(path), pipeline_version_name=version, pipeline_id=pipeline_id
            )
        return pipeline_id, uploaded.pipeline_version_id

    def _find_schedule(self, name: str) -> RecurringRun:
        found = [s for s in self.schedules() if name in (s.display_name, s.recurring_run_id)]
        if not found:
            raise ClusterError(f"there is no schedule {name}: mnist-tfx schedule list shows all.")
        if len(found) > 1:
            ids = ", ".join(s.recurring_run_id for s in found)
            raise ClusterError(f"{len(found)} schedules are named {name}: give one's id, of {ids}.")
        return found[0]

    def _last_words(self, failed: TaskDetail, details: list[TaskDetail]) -> str | None:
        """The last line for people in the log of a failed task; None where it cannot be had.

        Logs are not in the API; the UI's server, which also passes the API on, has them.
        """
        pod = _failed_pod(failed, details)
        host = self._cluster.server.ui_host or self._host
        if pod is None or not host:
            return None
        query = urllib.parse.urlencode({"podname": pod, "podnamespace": self._cluster.namespace})
        headers = {
            name: value
            for name, value in (
                ("Authorization", self._token and f"Bearer {self._token}"),
                ("Cookie", self._cookies),
            )
            if value
        }
        request = urllib.request.Request(f"{host.rstrip('/')}/k8s/pod/logs?{query}", None, headers)
        context = None
        if host.startswith("https"):
            context = ssl.create_default_context(cafile=self._cluster.server.ca_cert or None)
            if not self._cluster.server.verify_tls:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with urllib.request.urlopen(request, timeout=LOG_TIMEOUT_S, context=context) as answer:
                lines = answer.read().decode(errors="replace").splitlines()
        except OSError:
            return None
        said = [line.partition(LOG_PREFIX)[2] for line in lines if LOG_PREFIX in line]
        return said[-1] if said else None

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns what kfp.Client raises into a ClusterError, and keeps what it prints away."""
        try:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except kfp_server_api.ApiException as error:
            raise self._refusal(error) from error
        except urllib3.exceptions.HTTPError as error:
            reason = getattr(error, "reason", None) or error
            cure = "check the host, and that the port-forward, if it is one, is running"
            if "CERTIFICATE_VERIFY_FAILED" in str(reason):
                cure = "name the file of its certificate authority in server.ca_cert"
            raise UnreachableError(
                f"{self._where} cannot be reached ({_short(str(reason))}): {cure}."
            ) from error

    def _refusal(self, error: kfp_server_api.ApiException) -> ClusterError:
        server, said = self._cluster.server, _message(error)
        if error.status == 401:
            return ClusterError(
                f"{self._where} does not know who is asking (401): put a fresh token into "
                f"{server.token_env}, or the cookies of a signed-in browser into "
                f"{server.cookies_env}."
            )
        if error.status == 403:
            return ClusterError(
                f"{self._where} does not allow this (403: {said}): ask for the rights in the "
                f"namespace {self._cluster.namespace}, or name your own with "
                "--set kubeflow.namespace."
            )
        if error.status in (502, 503, 504):
            return UnreachableError(f"{self._where} is not ready ({error.status}: {said}).")
        return ClusterError(f"{self._where} refused ({error.status}: {said}).")


class UnreachableError(ClusterError):
    """There was no answer; there may be one later."""


class _Client(kfp.Client):  # type: ignore[misc]
    """kfp.Client, with one question about the server's health instead of five, 5 s apart, and
    with no namespace that is remembered from elsewhere."""

    def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
        return self.healthzs.healthz_service_get_healthz()

    def get_user_namespace(self) -> str:
        return ""


def _check_kubeconfig(context: str, environment: Mapping[str, str]) -> None:
    """Raises ConfigError where kfp.Client would find no server, and only print that."""
    if "KUBERNETES_SERVICE_HOST" in environment:  # in a pod
        return
    try:
        kubeconfig.load_kube_config(
            client_configuration=kfp_server_api.Configuration(), context=context or None
        )
    except kubeconfig.ConfigException as error:
        raise ConfigError(
            "nothing says where Kubeflow Pipelines is: set server.host in the cluster's file or "
            f"the environment variable {ENDPOINT_VARIABLE}, for example to a port-forward's "
            f"http://localhost:8080; and there is no kubeconfig to use ({_short(str(error))})."
        ) from error


def _named(name: str) -> str:
    """KFP's filter for what has this name."""
    predicate = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
    return json.dumps({"predicates": [predicate]})


def _failed_pod(task: TaskDetail, details: list[TaskDetail]) -> str | None:
    """The pod of a failed task that ran its container last.

    A task is a node of a workflow, and its pods are nodes below it. Children are named by
    the node's id, details by the pod's name; both end with the node's hash.
    """
    by_hash = {_hash(detail.pod_name): detail for detail in details if detail.pod_name}
    pods: list[TaskDetail] = []
    waiting = [task]
    while waiting:
        detail = waiting.pop()
        children = [by_hash.get(_hash(child.pod_name)) for child in detail.child_tasks or []]
        waiting += [child for child in children if child is not None and child is not detail]
        if not children and detail.state == "FAILED" and detail.pod_name:
            pods.append(detail)
    newest = max(pods, key=lambda pod: (pod.end_time is not None, pod.end_time), default=None)
    return str(newest.pod_name) if newest else None


def _hash(pod_name: str) -> str:
    return pod_name.rpartition("-")[2]


def _seconds(detail: TaskDetail) -> float:
    if detail.start_time is None or detail.end_time is None:
        return 0.0
    return max(0.0, float((detail.end_time - detail.start_time).total_seconds()))


def _message(error: kfp_server_api.ApiException) -> str:
    """What the server says, without what is around it."""
    body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else error.body
    try:
        said = json.loads(body or "")
        body = said.get("message") or said.get("error")
    except (ValueError, AttributeError):
        pass
    return _short(str(body or error.reason))


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 200 else f"{text[:200]}..."
