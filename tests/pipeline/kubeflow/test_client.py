"""Submit, follow and schedule, with a server that follows the API's contract."""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from doubles import kfp_api
from doubles.kfp_api import KfpApi
from kfp import compiler, dsl, kubernetes
from werkzeug import Response
from werkzeug.wrappers import Request

from pipeline.kubeflow import watch
from pipeline.kubeflow.client import KubeflowClient, SubmittedRun
from pipeline.kubeflow.cluster import cluster_config
from pipeline.kubeflow.compiled_pipeline import CompiledPipeline
from pipeline.kubeflow.connection import Connection
from pipeline.kubeflow.task_log import Ending, LastLine
from pipeline.kubeflow.watch import follow
from pipeline.runs.events import NodeChanged
from pipeline.settings.errors import ClusterError, ConfigError

logging.getLogger("werkzeug").setLevel(logging.ERROR)


@pytest.fixture
def server() -> Iterator[tuple[KfpApi, str]]:
    api = KfpApi()
    with kfp_api.serving(api.answer) as url:
        yield api, url


@pytest.fixture(scope="session")
def pipeline() -> CompiledPipeline:
    """A small pipeline; test_compiler.py compiles the real one."""

    @dsl.container_component
    def anomaly_gate() -> dsl.ContainerSpec:
        return dsl.ContainerSpec(image="i", command=["true"])

    @dsl.pipeline(name="digits")
    def digits(data: str = "/data", recipe: dict[str, float] = {}) -> None:  # noqa: B006
        kubernetes.set_timeout(anomaly_gate(), 60)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.yaml"
        compiler.Compiler().compile(digits, str(path))
        text = path.read_text()
    return CompiledPipeline("digits", text, {"anomalygate": "AnomalyGate", "trainer": "Trainer"})


def _connect(url: str, *overrides: str, environment: Mapping[str, str] | None = None) -> Connection:
    settings = cluster_config.load(overrides=[f"server.host={url}", *overrides])
    return Connection(settings, environment or {})


def _follow(
    connection: Connection, run: SubmittedRun, pipeline: CompiledPipeline
) -> tuple[str, list[NodeChanged]]:
    return follow(connection, run.run_id, pipeline.nodes, lambda _: None, interval_s=0.01)


def _client(url: str, *overrides: str) -> KubeflowClient:
    return KubeflowClient(_connect(url, *overrides))


def test_a_first_submit_makes_everything_and_a_second_only_a_run(
    server: tuple[KfpApi, str], pipeline: CompiledPipeline
) -> None:
    api, url = server
    run = _client(url).submit(pipeline, "first", {"recipe": {"epochs": 2}})
    assert run.url == f"{url}/#/runs/details/{api.runs[0].run_id}"
    assert [experiment.display_name for experiment in api.experiments] == ["mnist"]
    assert [found.display_name for found in api.pipelines] == ["digits"]
    assert [found.display_name for found in api.versions] == [pipeline.version]
    documents = list(yaml.safe_load_all(pipeline.yaml))
    assert api.versions[0].pipeline_spec["pipeline_spec"] == documents[0]
    assert api.runs[0].display_name == "first"
    assert api.runs[0].service_account == "mnist-tfx"
    assert api.runs[0].runtime_config["parameters"] == {"recipe": {"epochs": 2}}

    _client(url).submit(pipeline, "second", {})
    counts = [len(found) for found in (api.experiments, api.pipelines, api.versions, api.runs)]
    assert counts == [1, 1, 1, 2]
    changed = CompiledPipeline("digits", pipeline.yaml + "# changed\n", pipeline.nodes)
    _client(url).submit(changed, "third", {})
    assert [v.display_name for v in api.versions] == [pipeline.version, changed.version]
    assert len(api.pipelines) == 1


def test_with_several_users_the_namespace_is_named(
    server: tuple[KfpApi, str], pipeline: CompiledPipeline
) -> None:
    api, url = server
    api.multi_user = True
    client = _client(url, "namespace=team-a")
    client.submit(pipeline, "run", {})
    assert [e.namespace for e in api.experiments] == ["team-a"]
    assert [p.namespace for p in api.pipelines] == ["team-a"]
    assert client.schedules() == []


def test_a_run_is_followed_to_its_end(
    server: tuple[KfpApi, str], pipeline: CompiledPipeline
) -> None:
    api, url = server
    api.moments = [
        {},
        {"anomalygate": "RUNNING"},
        {"anomalygate": "SUCCEEDED", "trainer": "RUNNING"},
        {"anomalygate": "SUCCEEDED", "trainer": "RUNNING"},
        {"anomalygate": "SUCCEEDED", "trainer": "SUCCEEDED"},
    ]
    connection = _connect(url)
    run = KubeflowClient(connection).submit(pipeline, "run", {})
    events: list[NodeChanged] = []
    state, failed = follow(connection, run.run_id, pipeline.nodes, events.append, interval_s=0.01)
    assert (state, failed) == ("SUCCEEDED", [])
    assert [(event.node, event.state, event.seconds) for event in events] == [
        ("AnomalyGate", "running", 0.0),
        ("AnomalyGate", "done", 7.0),
        ("Trainer", "running", 0.0),
        ("Trainer", "done", 7.0),
    ]


@pytest.mark.parametrize("retried", [False, True])
def test_a_failed_task_shows_the_last_line_of_its_last_pods_log(
    server: tuple[KfpApi, str], pipeline: CompiledPipeline, retried: bool
) -> None:
    api, url = server
    api.moments = [
        {"anomalygate": "RUNNING"},
        {"anomalygate": "FAILED", "transform": "SKIPPED", "trainer": "SKIPPED"},
    ]
    api.final_state = "FAILED"
    api.retried = ["anomalygate"] if retried else []
    reason = "the data has 1 anomaly: test, label: ..."
    failure = LastLine("AnomalyGate", Ending.REJECTED, reason)
    api.logs = {"anomalygate": f"noise\n{failure}\nfailed to execute component\n"}
    connection = _connect(url)
    run = KubeflowClient(connection).submit(pipeline, "run", {})
    state, (failed,) = follow(
        connection, run.run_id, pipeline.nodes, lambda _: None, interval_s=0.01
    )
    assert state == "FAILED"
    assert (failed.message, failed.rejections) == (reason, (reason,))
    api.logs, api.looks = {}, 0
    _, (failed,) = _follow(connection, run, pipeline)
    assert failed.message == ""
    api.logs, api.looks, api.broken_logs = {"anomalygate": str(failure)}, 0, True
    _, (failed,) = _follow(connection, run, pipeline)
    assert failed.message == ""


def test_the_client_waits_for_a_server_that_restarts(
    server: tuple[KfpApi, str], pipeline: CompiledPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, url = server
    connection = _connect(url)
    run = KubeflowClient(connection).submit(pipeline, "run", {})
    api.broken_answers = 3
    state, _ = _follow(connection, run, pipeline)
    assert state == "SUCCEEDED"
    monkeypatch.setattr(watch, "UNREACHABLE_TOLERANCE_S", 0.05)
    api.broken_answers = 10**6
    with pytest.raises(ClusterError, match=r"is not ready \(503: upstream connect error\)"):
        _follow(connection, run, pipeline)


def test_a_session_that_expires_while_a_run_is_followed(
    server: tuple[KfpApi, str], pipeline: CompiledPipeline
) -> None:
    api, url = server
    connection = _connect(url)
    run = KubeflowClient(connection).submit(pipeline, "run", {})
    api.sign_in_page = True
    with pytest.raises(ClusterError, match="possibly a sign-in page"):
        _follow(connection, run, pipeline)
    with pytest.raises(ClusterError, match="possibly a sign-in page"):
        KubeflowClient(connection).submit(pipeline, "run", {})


def test_schedules_are_created_listed_paused_resumed_and_deleted(
    server: tuple[KfpApi, str], pipeline: CompiledPipeline
) -> None:
    api, url = server
    client = _client(url)
    schedule = cluster_config.load().schedule
    assert schedule is not None
    names = ["nightly", "a", "b", "c"]  # more than one page of the server's
    ids = [client.create_schedule(pipeline, name, schedule, {"data": "/new"}) for name in names]
    created = api.recurring_runs[0]
    assert created.trigger == {"cron_schedule": {"cron": "0 0 3 * * *"}}
    assert (created.max_concurrency, created.no_catchup) == (1, True)
    assert created.runtime_config["parameters"] == {"data": "/new"}
    assert created.service_account == "mnist-tfx"
    assert [found.display_name for found in client.schedules()] == names
    client.pause_schedule("nightly")
    assert client.schedules()[0].status == "DISABLED"
    client.resume_schedule(ids[0])
    assert client.schedules()[0].status == "ENABLED"
    with pytest.raises(ClusterError, match="the schedule nightly exists; delete it"):
        client.create_schedule(pipeline, "nightly", schedule, {})
    client.delete_schedule("nightly")
    assert [found.display_name for found in client.schedules()] == names[1:]
    with pytest.raises(ClusterError, match="the schedule nightly does not exist"):
        client.pause_schedule("nightly")
    created.display_name = "a"
    api.recurring_runs.append(created)
    with pytest.raises(ClusterError, match=f"2 schedules are named a; .*{ids[0]}"):
        client.delete_schedule("a")


def test_authentication_with_a_token_or_cookies(server: tuple[KfpApi, str]) -> None:
    api, url = server
    api.token, api.cookies = "secret", "session=abc"
    _connect(url, environment={"KFP_TOKEN": "secret"})
    _connect(url, environment={"KFP_COOKIES": "session=abc"})
    _connect(url, "server.token_env=MINE", environment={"MINE": "secret"})
    for environment in ({}, {"KFP_TOKEN": "old"}, {"KFP_COOKIES": "session=old"}):
        message = r"requires authentication \(401\); set a fresh token in KFP_TOKEN"
        with pytest.raises(ClusterError, match=message):
            _connect(url, environment=environment)


def test_a_token_is_cleaned_or_rejected_and_never_shown(server: tuple[KfpApi, str]) -> None:
    api, url = server
    api.token = "secret"
    _connect(url, environment={"KFP_TOKEN": "secret\n"})
    message = "KFP_TOKEN contains line breaks or control characters"
    with pytest.raises(ConfigError, match=message) as raised:
        _connect(url, environment={"KFP_TOKEN": "sec\nret"})
    assert "sec" not in str(raised.value).replace("characters", "")


def test_settings_of_the_server_are_checked() -> None:
    with pytest.raises(ConfigError, match="localhost:8080; expected a URL, http://"):
        Connection(cluster_config.load(), {"KF_PIPELINES_ENDPOINT": "localhost:8080"})
    with pytest.raises(ConfigError, match=r"server.ca_cert is /gone.pem; this file does not exist"):
        _connect("https://127.0.0.1:9", "server.ca_cert=/gone.pem")


def test_a_namespace_that_is_not_yours(
    server: tuple[KfpApi, str], pipeline: CompiledPipeline
) -> None:
    api, url = server
    api.multi_user, api.forbidden_namespaces = True, ["team-b"]
    message = r"\(403: User is not authorized in namespace team-b\): the account has no access to"
    with pytest.raises(ClusterError, match=message):
        _client(url, "namespace=team-b").submit(pipeline, "run", {})


def test_a_parameter_that_the_server_does_not_know(
    server: tuple[KfpApi, str], pipeline: CompiledPipeline
) -> None:
    _, url = server
    with pytest.raises(
        ClusterError, match=r"rejected the request \(400: unknown pipeline parameter x\)"
    ):
        _client(url).submit(pipeline, "run", {"x": "y"})


def test_a_host_where_nothing_listens() -> None:
    with pytest.raises(ClusterError, match=r"127.0.0.1:9 cannot be reached \(.*refused\); check"):
        _connect("http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param(
            Response("404 page not found", 404), "has no API v2beta1", id="another version"
        ),
        pytest.param(
            Response("<html>Sign in</html>", mimetype="text/html"), "a sign-in page", id="sign-in"
        ),
        pytest.param(Response("Bad Gateway", 502), r"is not ready \(502: Bad Gateway\)", id="502"),
        pytest.param(Response("oops", 500), r"rejected the request \(500: oops\)", id="500"),
    ],
)
def test_another_server_at_that_host(answer: Response, message: str) -> None:
    with kfp_api.serving(lambda _: answer) as url, pytest.raises(ClusterError, match=message):
        _connect(url)


def test_the_endpoint_can_be_set_in_the_environment(server: tuple[KfpApi, str]) -> None:
    _, url = server
    Connection(cluster_config.load(), {"KF_PIPELINES_ENDPOINT": url})


def test_without_a_host_the_kubeconfig_says_where(
    server: tuple[KfpApi, str],
    pipeline: CompiledPipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Kubernetes' API server forwards requests to the service in the cluster."""
    api, _ = server
    path = "/api/v1/namespaces/kubeflow/services/ml-pipeline:http/proxy"

    def proxy(request: Request) -> Response:
        request.environ["PATH_INFO"] = request.path.removeprefix(path).replace("//", "/")
        request.__dict__.pop("path", None)
        return api.answer(request)

    with kfp_api.serving(proxy) as url:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": url}}],
            "users": [{"name": "test", "user": {"token": "t"}}],
        }
        file = tmp_path / "config"
        file.write_text(yaml.safe_dump(config))
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(file))
        run = KubeflowClient(Connection(cluster_config.load(), {})).submit(pipeline, "run", {})
    assert run.url == f"#/runs/details/{api.runs[0].run_id} in Kubeflow's UI"
    with pytest.raises(
        ConfigError, match=r"is not set; set server.host .* Expected object with name gone"
    ):
        Connection(cluster_config.load(overrides=["server.kube_context=gone"]), {})
    monkeypatch.setattr(
        "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none")
    )
    with pytest.raises(ConfigError, match="server.host in the cluster file or .*KF_PIPELINES_"):
        Connection(cluster_config.load(), {})
