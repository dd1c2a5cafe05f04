"""What a person does with a cluster: compile for it, submit runs to it, follow, schedule them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from pipeline import cluster as clusters
from pipeline import config as configuration
from pipeline import native_output, settings_file
from pipeline.cluster import ClusterConfig
from pipeline.config import PipelineConfig
from pipeline.errors import ConfigError, ExitCode
from pipeline.events import NodeChanged, Planned
from pipeline.run_view import RunView

if TYPE_CHECKING:
    from pipeline.runners.kubeflow_client import KubeflowClient
    from pipeline.runners.kubeflow_connection import Connection

# Where a failure says nothing, as its log cannot be read, these are taken to have said no.
GATES: Final = ("AnomalyGate", "AtomicPusher")
FOLDERS: Final = ("data", "pipeline_root")  # the parameters of a run that are folders


def load(
    config: str, cluster: str, overrides: Iterable[str]
) -> tuple[PipelineConfig, ClusterConfig]:
    """Both files; overrides that start with "kubeflow." are for the cluster's.

    Raises:
      ConfigError: a mistake in either.
    """
    of_config, of_cluster = split_overrides(overrides)
    return configuration.load(config, of_config), clusters.load(cluster, of_cluster)


def connect(cluster: str, overrides: Iterable[str]) -> KubeflowClient:
    """A client of the server that the cluster's file names.

    Raises:
      ConfigError: a mistake in the cluster's file, or nothing says where the server is.
      ClusterError: the server cannot be reached, or refuses.
    """
    of_config, of_cluster = split_overrides(overrides)
    if of_config:
        prefix = clusters.OVERRIDE_PREFIX
        raise ConfigError(f"--set {of_config[0]}: {prefix}KEY=VALUE is expected here.")
    return _client(_connection(clusters.load(cluster, of_cluster)))


def compile_to(
    target: str, config: PipelineConfig, cluster: ClusterConfig, output: Path, console: Console
) -> None:
    """Compiles the pipeline into a file, and says what it could not take along.

    Raises:
      ConfigError: the configuration does not fit the target, or `output` is no YAML file or
        cannot be written.
    """
    if output.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"-o {output}: the name of a .yaml file is expected.")
    notes: Sequence[str] = ()
    if target == "vertex":
        with native_output.muted():
            from pipeline.runners import vertex

            text, notes = vertex.compile_pipeline(config, cluster), vertex.NOTES
    else:
        with native_output.muted():
            from pipeline.runners import kubeflow

            text = kubeflow.compile_pipeline(config, cluster).yaml
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"-o {output}: it cannot be written: {error.strerror}.") from error
    for note in notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    if "@sha256:" not in cluster.image:
        note = f"the image {cluster.image} is not pinned; NAME@sha256:... would be."
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
    """Starts a run, prints its URL, and if asked to, follows it to its end.

    Raises:
      ConfigError: a mistake in the configuration or in the parameters.
      ClusterError: the server cannot be reached, or refuses.
    """
    values = parse_parameters(parameters, config, cluster)
    connection = _connection(cluster)
    with native_output.muted():
        from pipeline.runners import kubeflow, kubeflow_watch

        compiled = kubeflow.compile_pipeline(config, cluster)
    name = run_name or f"{config.name} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    run = _client(connection).submit(compiled, name, values)
    console.print(f"run   {name}, version {compiled.version}", highlight=False, soft_wrap=True)
    console.print(f"at    {run.url}", highlight=False, soft_wrap=True)
    if not wait:
        return ExitCode.OK
    with RunView(console) as view:
        view.on_event(Planned(run_id=run.run_id, nodes=tuple(compiled.nodes.values())))
        state, failed = kubeflow_watch.follow(connection, run.run_id, compiled.nodes, view.on_event)
    code, sentence = judge(state, failed)
    style = "green" if code == ExitCode.OK else "red"
    console.print(f"\n{sentence}", style=style, highlight=False, soft_wrap=True)
    return code


def create_schedule(
    config: PipelineConfig,
    cluster: ClusterConfig,
    parameters: Iterable[str],
    name: str,
    console: Console,
) -> None:
    """Starts a recurring run.

    Raises:
      ConfigError: a mistake in the configuration, or it has no schedule.
      ClusterError: the server cannot be reached or refuses, or has one of that name.
    """
    if cluster.schedule is None:
        raise ConfigError(
            "the cluster's file has no schedule: add one, or say --set kubeflow.schedule.cron=..."
        )
    values = parse_parameters(parameters, config, cluster)
    client = _client(_connection(cluster))
    with native_output.muted():
        from pipeline.runners import kubeflow

        compiled = kubeflow.compile_pipeline(config, cluster)
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

    A folder that is not absolute is below the cluster's storage.

    Raises:
      ConfigError: there is no such parameter, or its value is wrong.
    """
    values: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    for text in given:
        key, value = settings_file.parse_override(text, "--param", "recipe.epochs=2")
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
        configuration.changed_recipe(config.trainer, recipe)
    return values


def judge(state: str, failed: Sequence[NodeChanged]) -> tuple[ExitCode, str]:
    """The exit code of a run that ended, and a sentence for it.

    Args:
      state: the run's.
      failed: the nodes that failed; without a message where nothing is known of the reason.
    """
    if state == "SUCCEEDED":
        return ExitCode.OK, "the run succeeded."
    if state == "CANCELED":
        return ExitCode.FAILED, "the run was canceled."
    for node in failed:
        if node.refusals:
            return ExitCode.REFUSED, f"{node.node} refused: {node.message}"
    for node in failed:
        if not node.message and node.node in GATES:
            return ExitCode.REFUSED, f"{node.node} said no, or failed: its log says which."
    said = "; ".join(f"{node.node} failed: {node.message or 'its log says why'}" for node in failed)
    return ExitCode.FAILED, said or "the run failed before a component did: see its page."


def split_overrides(overrides: Iterable[str]) -> tuple[list[str], list[str]]:
    """What of `--set` is for the configuration, and what, without its prefix, for the cluster."""
    said = list(overrides)
    of_cluster = [item for item in said if item.startswith(clusters.OVERRIDE_PREFIX)]
    rest = [item for item in said if item not in of_cluster]
    return rest, [item.removeprefix(clusters.OVERRIDE_PREFIX) for item in of_cluster]


def _connection(cluster: ClusterConfig) -> Connection:
    with native_output.muted():
        from pipeline.runners.kubeflow_connection import Connection
    return Connection(cluster)


def _client(connection: Connection) -> KubeflowClient:
    from pipeline.runners.kubeflow_client import KubeflowClient

    return KubeflowClient(connection)
