"""An HTTP server that follows the contract of Kubeflow Pipelines' API v2beta1.

kfp-server-api's own models parse the requests and produce the answers, so that an unknown field is
rejected as by the real server. Names, namespaces, references and parameters are checked as the
real server checks them; states and errors are the real ones. A run moves through the states that a
test gives, one for each request that reads it.
"""

import json
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import kfp_server_api as api
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from werkzeug import Request, Response
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule
from werkzeug.serving import make_server

PREFIX = "/apis/v2beta1"
INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS = 3, 5, 6
Moment = Mapping[str, str]  # the state of each task by then; a task that is not named is pending
START = datetime(2026, 1, 1, tzinfo=UTC)


class RejectedError(Exception):
    """An error of the server, in grpc-gateway's format."""

    def __init__(self, http_status: int, code: int, message: str):
        super().__init__(message)
        self.http_status, self.code = http_status, code


@dataclass
class KfpApi:
    """The settings and the content of the server; tests read them.

    A user needs `token` or `cookies`; if neither is set, every user is allowed.
    """

    multi_user: bool = False
    token: str | None = None
    cookies: str | None = None
    forbidden_namespaces: Sequence[str] = ()
    moments: Sequence[Moment] = ({},)
    final_state: str = "SUCCEEDED"
    logs: Mapping[str, str] = field(default_factory=dict)  # of each task's pod
    broken_answers: int = 0  # number of first GetRun calls that return 503
    retried: Sequence[str] = ()  # tasks whose first pod failed before the last one did
    sign_in_page: bool = False  # the answer of a proxy after a session has expired
    broken_logs: bool = False  # a log breaks off in the middle

    experiments: list[api.V2beta1Experiment] = field(default_factory=list)
    pipelines: list[api.V2beta1Pipeline] = field(default_factory=list)
    versions: list[api.V2beta1PipelineVersion] = field(default_factory=list)
    runs: list[api.V2beta1Run] = field(default_factory=list)
    recurring_runs: list[api.V2beta1RecurringRun] = field(default_factory=list)
    looks: int = 0

    # Each method answers one route; ROUTES names them.

    def healthz(self, request: Request) -> Any:
        return api.V2beta1GetHealthzResponse(multi_user=self.multi_user)

    def list_experiments(self, request: Request) -> Any:
        found = self._filtered(self.experiments, request)
        self._check_namespace(request.args.get("namespace"), "ListExperiments")
        return api.V2beta1ListExperimentsResponse(experiments=found, total_size=len(found))

    def create_experiment(self, request: Request) -> Any:
        made = _read(request, api.V2beta1Experiment)
        self._check_namespace(made.namespace, "CreateExperiment")
        _require(made.display_name, "experiment's display name")
        made.experiment_id, made.created_at = str(uuid.uuid4()), START
        self.experiments.append(made)
        return made

    def list_pipelines(self, request: Request) -> Any:
        found = self._filtered(self.pipelines, request)
        return api.V2beta1ListPipelinesResponse(pipelines=found, total_size=len(found))

    def create_pipeline(self, request: Request) -> Any:
        made = _read(request, api.V2beta1Pipeline)
        _require(made.display_name, "pipeline's display name")
        if any(other.display_name == made.display_name for other in self.pipelines):
            raise RejectedError(409, ALREADY_EXISTS, f"pipeline {made.display_name} already exists")
        made.pipeline_id, made.created_at = str(uuid.uuid4()), START
        self.pipelines.append(made)
        return made

    def list_versions(self, request: Request, pipeline_id: str) -> Any:
        found = [v for v in self.versions if v.pipeline_id == pipeline_id]
        found = self._filtered(found, request)
        return api.V2beta1ListPipelineVersionsResponse(
            pipeline_versions=found, total_size=len(found)
        )

    def upload_version(self, request: Request) -> Any:
        name, pipeline_id = request.args.get("name"), request.args.get("pipelineid")
        _require(name, "pipeline version's name")
        self._get(self.pipelines, "pipeline_id", pipeline_id)
        if any(v.display_name == name and v.pipeline_id == pipeline_id for v in self.versions):
            raise RejectedError(409, ALREADY_EXISTS, f"pipeline version {name} already exists")
        uploaded = request.files["uploadfile"]
        assert uploaded.filename and uploaded.filename.endswith(".yaml")
        documents = list(yaml.safe_load_all(uploaded.read()))
        spec = {"pipeline_spec": documents[0], "platform_spec": documents[1]}
        json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
        json_format.ParseDict(documents[1], pipeline_spec_pb2.PlatformSpec())
        made = api.V2beta1PipelineVersion(
            pipeline_id=pipeline_id,
            pipeline_version_id=str(uuid.uuid4()),
            display_name=name,
            pipeline_spec=spec,
            created_at=START,
        )
        self.versions.append(made)
        return made

    def create_run(self, request: Request) -> Any:
        made = _read(request, api.V2beta1Run)
        self._check_job(made)
        made.run_id, made.created_at, made.state = str(uuid.uuid4()), START, "PENDING"
        self.runs.append(made)
        return made

    def get_run(self, request: Request, run_id: str) -> Any:
        if self.broken_answers:
            self.broken_answers -= 1
            raise RejectedError(503, 14, "upstream connect error")
        run = self._get(self.runs, "run_id", run_id)
        moment = self.moments[min(self.looks, len(self.moments) - 1)]
        run.state = self.final_state if self.looks >= len(self.moments) - 1 else "RUNNING"
        self.looks += 1
        run.run_details = api.V2beta1RunDetails(task_details=self._workflow(run, moment))
        return run

    def list_runs(self, request: Request) -> Any:
        self._check_namespace(request.args.get("namespace"), "ListRuns")
        assert request.args["sort_by"] == "created_at desc"
        newest = self.runs[::-1][: int(request.args["page_size"])]
        return api.V2beta1ListRunsResponse(runs=newest, total_size=len(self.runs))

    def list_recurring_runs(self, request: Request) -> Any:
        self._check_namespace(request.args.get("namespace"), "ListRecurringRuns")
        found = self._filtered(self.recurring_runs, request)
        start, size = int(request.args.get("page_token") or 0), 2  # small: pages have to be turned
        more = str(start + size) if start + size < len(found) else None
        return api.V2beta1ListRecurringRunsResponse(
            recurring_runs=found[start : start + size], next_page_token=more, total_size=len(found)
        )

    def create_recurring_run(self, request: Request) -> Any:
        made = _read(request, api.V2beta1RecurringRun)
        self._check_job(made)
        cron = (made.trigger or {}).get("cron_schedule", {}).get("cron", "")
        if len(cron.split()) not in (5, 6) and not cron.startswith("@"):
            raise RejectedError(400, INVALID_ARGUMENT, f"schedule cron {cron!r} is not supported")
        if not 1 <= int(made.max_concurrency or 0) <= 10:
            raise RejectedError(400, INVALID_ARGUMENT, "max_concurrency must be between 1 and 10")
        made.recurring_run_id, made.created_at = str(uuid.uuid4()), START
        made.status = {"ENABLE": "ENABLED", "DISABLE": "DISABLED"}[made.mode]
        self.recurring_runs.append(made)
        return made

    def enable_recurring_run(self, request: Request, recurring_run_id: str) -> Any:
        found = self._get(self.recurring_runs, "recurring_run_id", recurring_run_id)
        found.status = "ENABLED"
        return {}

    def disable_recurring_run(self, request: Request, recurring_run_id: str) -> Any:
        found = self._get(self.recurring_runs, "recurring_run_id", recurring_run_id)
        found.status = "DISABLED"
        return {}

    def delete_recurring_run(self, request: Request, recurring_run_id: str) -> Any:
        found = self._get(self.recurring_runs, "recurring_run_id", recurring_run_id)
        self.recurring_runs.remove(found)
        return {}

    def run_log(self, request: Request, run_id: str, node_id: str) -> Any:
        """An error has the status 200, because the server sends the status first."""
        for task, log in self.logs.items():
            if node_id == _node_id(f"{task}(0).executor({self._attempts(task) - 1})"):
                headers = {"Content-Length": str(len(log) + (100 if self.broken_logs else 0))}
                return Response(iter([log.encode()]), mimetype="text/plain", headers=headers)
        return Response(json.dumps({"error_message": "Failed to read logs"}))

    def answer(self, request: Request) -> Response:
        """Answers any request."""
        if self.sign_in_page:
            return Response("<html>Sign in</html>", mimetype="text/html")
        try:
            endpoint, values = _MAP.bind_to_environ(request.environ).match()
            self._check_user(request)
            result = getattr(self, endpoint)(request, **values)
        except RejectedError as rejected:
            body = {"code": rejected.code, "error": str(rejected), "message": str(rejected)}
            return Response(json.dumps(body), rejected.http_status, mimetype="application/json")
        except HTTPException as error:
            return error.get_response()  # type: ignore[return-value]
        if isinstance(result, Response):
            return result
        plain = _without_defaults(api.ApiClient().sanitize_for_serialization(result))
        return Response(json.dumps(plain), mimetype="application/json")

    def _check_user(self, request: Request) -> None:
        if self.token is None and self.cookies is None:
            return
        has_token = request.headers.get("Authorization") == f"Bearer {self.token}"
        has_cookies = request.headers.get("Cookie") == self.cookies
        if not (self.token and has_token) and not (self.cookies and has_cookies):
            raise RejectedError(401, 16, "Request header error: there is no user identity header.")

    def _check_namespace(self, namespace: str | None, call: str) -> None:
        if self.multi_user and not namespace:
            raise RejectedError(
                400, INVALID_ARGUMENT, f"In multi-user mode, {call} needs a namespace"
            )
        if not self.multi_user and namespace:
            raise RejectedError(
                400, INVALID_ARGUMENT, f"In single-user mode, {call} cannot filter by namespace"
            )
        if namespace in self.forbidden_namespaces:
            raise RejectedError(403, 7, f"User is not authorized in namespace {namespace}")

    def _check_job(self, job: Any) -> None:
        """Checks the fields that runs and recurring runs share."""
        _require(job.display_name, "display name")
        self._get(self.experiments, "experiment_id", job.experiment_id)
        reference = job.pipeline_version_reference
        version = self._get(self.versions, "pipeline_version_id", reference["pipeline_version_id"])
        assert reference["pipeline_id"] == version.pipeline_id
        root = version.pipeline_spec["pipeline_spec"]["root"]
        declared = root["inputDefinitions"]["parameters"]
        for name in job.runtime_config.get("parameters", {}):
            if name not in declared:
                raise RejectedError(400, INVALID_ARGUMENT, f"unknown pipeline parameter {name}")

    def _filtered(self, items: Sequence[Any], request: Request) -> list[Any]:
        text = request.args.get("filter")
        if not text:
            return list(items)
        (predicate,) = json.loads(text)["predicates"]
        assert predicate.keys() == {"operation", "key", "stringValue"}
        assert predicate["operation"] in ("EQUALS", 1)
        return [i for i in items if getattr(i, predicate["key"]) == predicate["stringValue"]]

    def _get(self, items: Sequence[Any], key: str, value: Any) -> Any:
        for item in items:
            if getattr(item, key) == value:
                return item
        raise RejectedError(404, NOT_FOUND, f"ResourceNotFoundError: {key} {value} not found")

    def _attempts(self, task: str) -> int:
        return 2 if task in self.retried else 1

    def _workflow(self, run: api.V2beta1Run, moment: Moment) -> list[api.V2beta1PipelineTaskDetail]:
        """The nodes of the workflow, as Kubeflow Pipelines 2.17 reports them.

        Kubeflow's default settings retry every node, so that each is two: the node, and below it
        its attempts, such as trainer(0). Below that of a task are its executor, whose attempts are
        pods, and the tasks that were not started because it failed. Nodes name their children by
        id; their own id is not in the answer, and neither is the name of a pod.
        """

        def detail(
            name: str, state: str, children: Sequence[str] = ()
        ) -> api.V2beta1PipelineTaskDetail:
            is_over = state in ("SUCCEEDED", "FAILED")
            return api.V2beta1PipelineTaskDetail(
                run_id=run.run_id,
                task_id=str(uuid.uuid4()),
                display_name=name,
                create_time=START,
                start_time=START,
                end_time=START + timedelta(seconds=7) if is_over else None,
                state=None if state == "SKIPPED" else state,
                child_tasks=[
                    api.PipelineTaskDetailChildTask(pod_name=_node_id(child)) for child in children
                ],
            )

        skipped = [task for task in moment if moment[task] == "SKIPPED"]
        details = []
        for task, state in moment.items():
            if state == "SKIPPED":
                details.append(detail(task, state))
                continue
            driver, executor = f"{task}-driver", f"{task}(0).executor"
            pods = [f"{executor}({number})" for number in range(self._attempts(task))]
            details += [
                detail(driver, "SUCCEEDED", [f"{driver}(0)"]),
                detail(f"{driver}(0)", "SUCCEEDED"),
                detail(task, state, [f"{task}(0)"]),
                detail(f"{task}(0)", state, [executor, *(skipped if state == "FAILED" else [])]),
                detail("executor", state, pods),
                *(detail(f"executor({n})", "FAILED") for n in range(len(pods) - 1)),
                detail(f"executor({len(pods) - 1})", state),
            ]
        return details


def _node_id(name: str) -> str:
    return f"workflow-{_hash(name)}"


def _hash(text: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, text).int % 10**10)


def _read(request: Request, model: Callable[..., Any]) -> Any:
    """Parses the body as a model; rejects unknown fields, as protojson does."""
    body = request.get_json()
    fields = {json_name: name for name, json_name in model.attribute_map.items()}  # type: ignore[attr-defined]
    for key in body:
        if key not in fields:
            raise RejectedError(400, INVALID_ARGUMENT, f'unknown field "{key}"')
    return model(**{fields[key]: value for key, value in body.items()})


def _without_defaults(value: Any) -> Any:
    """Removes values that equal the default of their type, as the real server does."""
    if isinstance(value, dict):
        return {k: _without_defaults(v) for k, v in value.items() if v not in (False, 0, "", [])}
    if isinstance(value, list):
        return [_without_defaults(item) for item in value]
    return value


def _require(value: str | None, what: str) -> None:
    if not value:
        raise RejectedError(400, INVALID_ARGUMENT, f"the {what} is missing")


def _rule(method: str, path: str, endpoint: str) -> Rule:
    return Rule(f"{PREFIX}{path}", methods=[method], endpoint=endpoint)


_MAP = Map(
    [
        _rule("GET", "/healthz", "healthz"),
        _rule("GET", "/experiments", "list_experiments"),
        _rule("POST", "/experiments", "create_experiment"),
        _rule("GET", "/pipelines", "list_pipelines"),
        _rule("POST", "/pipelines", "create_pipeline"),
        _rule("GET", "/pipelines/<pipeline_id>/versions", "list_versions"),
        _rule("POST", "/pipelines/upload_version", "upload_version"),
        _rule("POST", "/runs", "create_run"),
        _rule("GET", "/runs", "list_runs"),
        _rule("GET", "/runs/<run_id>", "get_run"),
        _rule("GET", "/recurringruns", "list_recurring_runs"),
        _rule("POST", "/recurringruns", "create_recurring_run"),
        _rule("POST", "/recurringruns/<recurring_run_id>:enable", "enable_recurring_run"),
        _rule("POST", "/recurringruns/<recurring_run_id>:disable", "disable_recurring_run"),
        _rule("DELETE", "/recurringruns/<recurring_run_id>", "delete_recurring_run"),
        Rule("/apis/v1alpha1/runs/<run_id>/nodes/<node_id>/log", endpoint="run_log"),
    ]
)


@contextmanager
def serving(answer: Callable[[Request], Response]) -> Iterator[str]:
    """Runs a server on a free loopback port; yields its URL."""

    @Request.application
    def application(request: Request) -> Response:
        return answer(request)

    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
