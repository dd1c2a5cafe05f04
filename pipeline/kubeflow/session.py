"""The commands of a cluster: compile, submit and follow runs, schedule them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from components.names.node_ids import NodeId
from pipeline.kubeflow.cluster import cluster_config
from pipeline.kubeflow.cluster.cluster_config import ClusterConfig
from pipeline.kubeflow.compiled_pipeline import CompiledPipeline, task_name
from pipeline.runs import verdict
from pipeline.runs.events import Planned
from pipeline.settings import pipeline_config, toml_settings
from pipeline.settings.errors import ClusterError, ConfigError, ExitCode
from pipeline.settings.pipeline_config import CLUSTER_PREFIX, PipelineConfig
from pipeline.view import native_output
from pipeline.view.run_view import RunView

if TYPE_CHECKING:
    from pipeline.kubeflow.client import KubeflowClient
    from pipeline.kubeflow.connection import Connection

_LISTED_RUNS: Final = 20
_COMPILING: Final = "compiling the pipeline (loads TensorFlow and TFX)"
FOLDERS: Final = ("data", "pipeline_root")  # the parameters of a run that are folders


def load(
    config: str, cluster: str, overrides: Iterable[str]
) -> tuple[PipelineConfig, ClusterConfig]:
    """Reads both files; overrides that start with "kubeflow." are for the cluster file.

    Raises:
      ConfigError: a mistake in either.
    """
    of_config, of_cluster = split_overrides(overrides)
    return pipeline_config.load(config, of_config), cluster_config.load(cluster, of_cluster)


def connect(cluster: str, overrides: Iterable[str]) -> KubeflowClient:
    """A client of the server in the cluster file.

    Raises:
      ConfigError: a mistake in the cluster file, or the address of the server is missing.
      ClusterError: the server cannot be reached, or rejects the request.
    """
    of_config, of_cluster = split_overrides(overrides)
    if of_config:
        raise ConfigError(f"--set {of_config[0]}: expected {CLUSTER_PREFIX}KEY=VALUE.")
    return _client(_connection(cluster_config.load(cluster, of_cluster)))


def compile_to(
    target: str, config: PipelineConfig, cluster: ClusterConfig, output: Path, console: Console
) -> None:
    """Compiles the pipeline into a file, and prints what the target does not support.

    Raises:
      ConfigError: the target does not support the configuration, or `output` is not a YAML file
        or cannot be written.
    """
    if output.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"-o {output}: expected the name of a .yaml file.")
    notes: Sequence[str] = ()
    with console.status(_COMPILING):
        if target == "vertex":
            with native_output.muted():
                from pipeline.kubeflow import vertex

                text, notes = vertex.compile_pipeline(config, cluster), vertex.NOTES
        else:
            text = _compile(config, cluster).yaml
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"-o {output}: cannot write it: {error.strerror}.") from error
    if "@sha256:" not in cluster.image:
        notes = (*notes, f"the image {cluster.image} is not pinned; NAME@sha256:... pins it.")
    for note in notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    console.print(str(output), highlight=False, soft_wrap=True)


def submit(
    config: PipelineConfig,
    cluster: ClusterConfig,
    parameters: Iterable[str],
    run_name: str,
    wait: bool,
    console: Console,
) -> ExitCode:
    """Starts a run, prints its URL, and optionally follows it to its end.

    Raises:
      ConfigError: a mistake in the configuration or in the parameters.
      ClusterError: the server cannot be reached, or rejects the request.
    """
    values = parse_parameters(parameters, config, cluster)
    connection = _connection(cluster)
    with console.status(_COMPILING):
        compiled = _compile(config, cluster)
    name = run_name or f"{config.name} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    run = _client(connection).submit(compiled, name, values)
    console.print(f"run   {name}, version {compiled.version}", highlight=False, soft_wrap=True)
    console.print(f"page  {run.url}", highlight=False, soft_wrap=True)
    return _follow(connection, run.run_id, console) if wait else ExitCode.OK


def watch_run(cluster: ClusterConfig, run_id: str | None, console: Console) -> ExitCode:
    """Follows a run that was submitted before, by default the newest, to its end.

    Raises:
      ClusterError: the server cannot be reached, rejects the request, or has no such run.
    """
    connection = _connection(cluster)
    if run_id is None:
        newest = _client(connection).newest_runs(1)
        if not newest:
            raise ClusterError("there are no runs; start one with `mnist-tfx submit`.")
        run_id = str(newest[0].run_id)
    console.print(f"run   {run_id}", highlight=False, soft_wrap=True)
    page = connection.page(f"runs/details/{run_id}")
    console.print(f"page  {page}", highlight=False, soft_wrap=True)
    return _follow(connection, run_id, console)


def show_runs(cluster: ClusterConfig, console: Console) -> None:
    """Prints the newest runs.

    Raises:
      ClusterError: the server cannot be reached, or rejects the request.
    """
    from pipeline.view import tables

    found = _client(_connection(cluster)).newest_runs(_LISTED_RUNS)
    rows = [
        (
            run.run_id,
            run.display_name,
            (run.state or "-").lower(),
            f"{run.created_at:%Y-%m-%d %H:%M}" if run.created_at else "-",
        )
        for run in found
    ]
    tables.print_full(console, tables.table(("id", "run", "state", "since"), rows))


def _follow(connection: Connection, run_id: str, console: Console) -> ExitCode:
    from pipeline.kubeflow import watch

    nodes = {task_name(node): node.value for node in NodeId}
    with RunView(console, "waiting for the first task", "waiting for the end of the run") as view:
        view.on_event(Planned(run_id=run_id, nodes=tuple(nodes.values())))
        state, failed = watch.follow(connection, run_id, nodes, view.on_event)
    exit_code, message = verdict.of_cluster_run(state, failed)
    style = "green" if exit_code == ExitCode.OK else "red"
    console.print(f"\n{message}", style=style, highlight=False, soft_wrap=True)
    return exit_code


def create_schedule(
    config: PipelineConfig,
    cluster: ClusterConfig,
    parameters: Iterable[str],
    name: str,
    console: Console,
) -> None:
    """Starts a recurring run.

    Raises:
      ConfigError: a mistake in the configuration, or the cluster file has no schedule.
      ClusterError: the server cannot be reached or rejects the request, or the name is taken.
    """
    if cluster.schedule is None:
        raise ConfigError(
            "the cluster file has no schedule; add one, or use --set kubeflow.schedule.cron=..."
        )
    values = parse_parameters(parameters, config, cluster)
    client = _client(_connection(cluster))
    compiled = _compile(config, cluster)
    name = name or config.name
    schedule_id = client.create_schedule(compiled, name, cluster.schedule, values)
    console.print(
        f"schedule {name} ({schedule_id}), version {compiled.version}, at {cluster.schedule.cron}",
        highlight=False,
        soft_wrap=True,
    )


def parse_parameters(
    given: Iterable[str], config: PipelineConfig, cluster: ClusterConfig
) -> dict[str, Any]:
    """A run's parameters, from "data=...", "pipeline_root=..." and "recipe.KEY=...".

    A relative folder is below the storage of the cluster.

    Raises:
      ConfigError: a parameter is unknown, or its value is invalid.
    """
    values: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    for text in given:
        key, value = toml_settings.parse_override(text, "--param ", "recipe.epochs=2")
        if key.startswith("recipe."):
            recipe[key.removeprefix("recipe.")] = value
        elif key in FOLDERS and isinstance(value, str) and cluster.storage.reaches(value):
            values[key] = cluster.storage.folder(value)
        else:
            raise ConfigError(
                f"--param {text}: expected recipe.KEY=VALUE, or data=FOLDER or "
                f"pipeline_root=FOLDER with a folder below {cluster.storage.root}."
            )
    if recipe:
        values["recipe"] = recipe
        pipeline_config.changed_recipe(config.trainer, recipe)
    return values


def split_overrides(overrides: Iterable[str]) -> tuple[list[str], list[str]]:
    """The overrides of the configuration, and, without their prefix, those of the cluster file."""
    given = list(overrides)
    of_cluster = [item for item in given if item.startswith(CLUSTER_PREFIX)]
    rest = [item for item in given if item not in of_cluster]
    return rest, [item.removeprefix(CLUSTER_PREFIX) for item in of_cluster]


def _compile(config: PipelineConfig, cluster: ClusterConfig) -> CompiledPipeline:
    with native_output.muted():
        from pipeline.kubeflow import compiler

        return compiler.compile_pipeline(config, cluster)


def _connection(cluster: ClusterConfig) -> Connection:
    with native_output.muted():
        from pipeline.kubeflow.connection import Connection
    return Connection(cluster)


def _client(connection: Connection) -> KubeflowClient:
    from pipeline.kubeflow.client import KubeflowClient

    return KubeflowClient(connection)
