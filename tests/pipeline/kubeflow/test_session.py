"""`mnist-tfx submit` and `schedule`, and the verdict on a run that ended."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from doubles import kfp_api
from doubles.kfp_api import KfpApi
from rich.console import Console
from werkzeug import Request, Response

from pipeline.cli import entry_point, kubeflow_commands, main
from pipeline.kubeflow import session
from pipeline.kubeflow.cluster import cluster_config
from pipeline.settings import pipeline_config
from pipeline.settings.errors import ConfigError, ExitCode

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[tuple[KfpApi, Run]]:
    """A server, and `mnist-tfx` in this process with the server as its endpoint."""
    api = KfpApi()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["mnist-tfx", *arguments])
        code: object = 0
        try:
            entry_point.main()
        except SystemExit as ended:
            code = ended.code or 0
        out, err = capsys.readouterr()
        assert isinstance(code, int)
        return subprocess.CompletedProcess(arguments, code, out, err)

    for module in (kubeflow_commands, main):  # wide, and captured
        monkeypatch.setattr(module, "console", Console(width=200))
    with kfp_api.serving(api.answer) as url:
        monkeypatch.setenv("KF_PIPELINES_ENDPOINT", url)
        yield api, run


def test_submit_and_wait_shows_the_components_and_the_outcome(server: tuple[KfpApi, Run]) -> None:
    """In its own process: the output contains no messages of libraries."""
    api, _ = server
    api.moments = [
        {"idxexamplegen": "RUNNING"},
        {"idxexamplegen": "SUCCEEDED", "curatedschema": "SUCCEEDED"},
    ]
    command = [sys.executable, "-m", "pipeline.cli", "submit", "--wait", "--run-name", "mine"]
    done = subprocess.run(
        [*command, "--param", "recipe.epochs=2"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    (made,) = api.runs
    assert made.display_name == "mine"
    assert made.runtime_config["parameters"] == {"recipe": {"epochs": 2}}
    assert api.versions[0].display_name in done.stdout
    assert re.search(
        rf"^page  http://127.0.0.1:\d+/#/runs/details/{made.run_id}$", done.stdout, re.M
    )
    assert (
        "✓ IdxExampleGen     done        7.0 s\n✓ CuratedSchema     done        7.0 s\n"
        in done.stdout
    )
    assert done.stdout.endswith("\nthe run succeeded.\n")


def test_the_token_is_in_no_output_and_no_request_body(
    server: tuple[KfpApi, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    api, run = server
    api.token = "not-so-secret"
    monkeypatch.setenv("KFP_TOKEN", api.token)
    bodies = []
    answer = api.answer

    def recorded(request: Request) -> Response:
        bodies.append(request.get_data())
        return answer(request)

    with kfp_api.serving(recorded) as url:
        monkeypatch.setenv("KF_PIPELINES_ENDPOINT", url)
        done = run("submit", "--wait")
    assert done.returncode == 0
    assert any(b"pipelineInfo" in body for body in bodies), "the compiled pipeline"
    assert api.token not in done.stdout + done.stderr
    assert not [body for body in bodies if api.token.encode() in body]


def test_a_gate_that_rejected_ends_with_exit_code_3_and_its_reason(
    server: tuple[KfpApi, Run],
) -> None:
    api, run = server
    api.moments, api.final_state = [{"anomalygate": "FAILED"}], "FAILED"
    rejection = "AnomalyGate rejected: the data has 1 anomaly: test, label: Unexpected value 12"
    api.logs = {"anomalygate": f"mnist-tfx: {rejection}\n"}
    done = run("submit", "--wait")
    assert (done.returncode, done.stderr) == (3, "")
    assert "✗ AnomalyGate       rejected    7.0 s" in done.stdout
    assert done.stdout.endswith(f"\n{rejection}\n")


def test_without_wait_it_returns_at_once(server: tuple[KfpApi, Run]) -> None:
    api, run = server
    api.final_state = "FAILED"
    done = run("submit")
    assert (done.returncode, done.stderr) == (0, "")
    assert api.looks == 0


def test_a_submitted_run_is_listed_and_followed_later(
    server: tuple[KfpApi, Run], tmp_path: Path
) -> None:
    api, run = server
    cluster = tmp_path / "cluster.toml"
    cluster.write_text('extends = "kubeflow"\n')
    none = run("status", "--watch", "--cluster", str(cluster))
    assert (none.returncode, none.stderr) == (
        ExitCode.FAILED,
        "mnist-tfx: there are no runs; start one with `mnist-tfx submit`.\n",
    )
    run("submit", "--run-name", "first")
    run("submit", "--run-name", "second")
    first, second = api.runs
    listed = run("status", "--cluster", str(cluster)).stdout
    assert re.search(rf"{second.run_id} +second +pending +2026-01-01 00:00", listed)
    assert listed.index(second.run_id) < listed.index(first.run_id), "the newest first"
    api.moments = [{"idxexamplegen": "RUNNING"}, {"idxexamplegen": "SUCCEEDED"}]
    followed = run("status", "--watch", "--cluster", str(cluster))
    assert followed.returncode == 0
    assert f"run   {second.run_id}" in followed.stdout
    assert "✓ IdxExampleGen     done        7.0 s\n\nthe run succeeded.\n" in followed.stdout
    other = run("status", "--watch", "--cluster", str(cluster), "--run", str(first.run_id))
    assert f"run   {first.run_id}" in other.stdout


def test_schedules_from_creation_to_deletion(server: tuple[KfpApi, Run]) -> None:
    api, run = server
    assert run("schedule", "list").stdout == "There are no schedules.\n"
    done = run("schedule", "create", "--set", "kubeflow.schedule.cron=@daily")
    assert (done.returncode, done.stderr) == (0, "")
    (created,) = api.recurring_runs
    version = api.versions[0].display_name
    assert (
        done.stdout
        == f"schedule mnist ({created.recurring_run_id}), version {version}, at @daily\n"
    )
    assert run("schedule", "pause", "mnist").stdout == "paused mnist.\n"
    listed = run("schedule", "list").stdout
    assert re.search(
        rf"mnist +@daily +paused +2026-01-01 00:00 +{created.recurring_run_id}", listed
    )
    assert run("schedule", "resume", "mnist").returncode == 0
    assert created.status == "ENABLED"
    assert run("schedule", "delete", "mnist").stdout == "deleted mnist.\n"
    assert api.recurring_runs == []
    gone = run("schedule", "delete", "mnist")
    assert gone.returncode == ExitCode.FAILED
    assert gone.stderr == (
        "mnist-tfx: the schedule mnist does not exist; `mnist-tfx schedule list` shows all.\n"
    )


def test_compile_writes_the_file_and_lists_ignored_settings(
    server: tuple[KfpApi, Run], tmp_path: Path
) -> None:
    _, run = server
    output = tmp_path / "new" / "pipeline.yaml"
    done = run("compile", "--to", "kubeflow", "-o", str(output))
    assert (done.returncode, done.stderr) == (0, "")
    assert output.read_text().startswith("# PIPELINE DEFINITION\n# Name: mnist\n")
    assert "note: the image mnist-tfx:latest is not pinned" in done.stdout
    assert done.stdout.endswith(f"{output}\n")
    bucket = ["--set", "kubeflow.storage={root='gs://b/p'}"]
    done = run("compile", "--to", "vertex", "-o", str(output), *bucket)
    assert (done.returncode, done.stderr) == (0, "")
    assert "note: Vertex does not run custom resolvers" in done.stdout
    assert "# Name: mnist" in output.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compile", "--to", "vertex", "-o", "x.yaml"], "Vertex mounts no volume"),
        (["compile", "--to", "kubeflow", "-o", "x.txt"], "expected the name of a .yaml file"),
        (
            ["compile", "--to", "kubeflow", "-o", "/dev/null/x.yaml"],
            "cannot write it: File exists",
        ),
        (["compile", "--to", "airflow", "-o", "x.yaml"], "'airflow' is not one of"),
        (["submit", "--cluster", "gone.toml"], "the cluster file gone.toml does not exist"),
        (["submit", "--param", "epochs=2"], "expected recipe.KEY=VALUE, or data=FOLDER or"),
        (
            ["submit", "--param", "recipe.epochs=x"],
            "recipe.epochs: 'x': expected an integer",
        ),
        (["schedule", "list", "--set", "trainer.epochs=2"], "expected kubeflow.KEY=VALUE"),
    ],
)
def test_a_mistake_has_exit_code_2(
    server: tuple[KfpApi, Run], arguments: list[str], message: str
) -> None:
    _, run = server
    done = run(*arguments)
    assert done.returncode == ExitCode.USAGE
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_overrides_are_for_the_cluster_or_for_the_configuration() -> None:
    overrides = ["trainer.epochs=2", "kubeflow.image=x:1", "name=kubeflow"]
    of_config = ["trainer.epochs=2", "name=kubeflow"]
    assert session.split_overrides(overrides) == (of_config, ["image=x:1"])


def test_parameters_are_parsed() -> None:
    settings = pipeline_config.load(), cluster_config.load()
    given = ["data=new", "pipeline_root=gs://b/p", "recipe.seed=3", "recipe.epochs=2"]
    assert session.parse_parameters(given, *settings) == {
        "data": "/mnt/mnist-tfx/new",
        "pipeline_root": "gs://b/p",
        "recipe": {"seed": 3, "epochs": 2},
    }
    for wrong in (
        *("data=", "data=3", "data=/elsewhere", "data=s3://b/a", "data", "other=x"),
        *("recipe=3", "recipe=full", 'recipe={"epochs": 2}'),
    ):
        with pytest.raises(ConfigError, match="--param"):
            session.parse_parameters([wrong], *settings)
