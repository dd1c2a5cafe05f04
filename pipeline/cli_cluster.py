"""The commands of `mnist-tfx` that are about a cluster: compile, submit, schedule."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipeline.cli_options import ClusterOption, ConfigOption, ParameterOption, SetOption

app = typer.Typer()
schedule = typer.Typer(help="Recurring runs: create, list, pause, resume, delete.")
app.add_typer(schedule, name="schedule", no_args_is_help=True)
console = Console()

DEFAULT_CLUSTER = "kubeflow"
ScheduleArgument = Annotated[str, typer.Argument(metavar="NAME|ID", help="The schedule.")]


class Target(StrEnum):
    """What to compile for."""

    KUBEFLOW = "kubeflow"
    VERTEX = "vertex"


@app.command(name="compile")
def compile_(
    target: Annotated[Target, typer.Option("--to", help="Open-source Kubeflow, or Vertex AI.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write, *.yaml.")],
    config: ConfigOption = "local",
    overrides: SetOption = None,
    cluster: ClusterOption = DEFAULT_CLUSTER,
) -> None:
    """Compile the pipeline into a file for Kubeflow Pipelines or Vertex AI."""
    from pipeline import kubeflow_session

    settings = kubeflow_session.load(config, cluster, overrides or ())
    kubeflow_session.compile_to(target.value, *settings, output, console)


@app.command()
def submit(
    config: ConfigOption = "local",
    overrides: SetOption = None,
    cluster: ClusterOption = DEFAULT_CLUSTER,
    parameters: ParameterOption = None,
    run_name: Annotated[str, typer.Option(help="The run's name; the default has the time.")] = "",
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow the run; end with the exit code of a local one.")
    ] = False,
) -> None:
    """Compile the pipeline, upload it where it is new, and start a run on Kubeflow Pipelines."""
    from pipeline import kubeflow_session

    settings = kubeflow_session.load(config, cluster, overrides or ())
    code = kubeflow_session.submit(*settings, parameters or (), run_name, wait, console)
    raise typer.Exit(code)


@schedule.command(name="create")
def schedule_create(
    config: ConfigOption = "local",
    overrides: SetOption = None,
    cluster: ClusterOption = DEFAULT_CLUSTER,
    parameters: ParameterOption = None,
    name: Annotated[str, typer.Option(help="Its name; the pipeline's unless said.")] = "",
) -> None:
    """Start a recurring run, at the times of schedule.cron in the cluster's file."""
    from pipeline import kubeflow_session

    settings = kubeflow_session.load(config, cluster, overrides or ())
    kubeflow_session.create_schedule(*settings, parameters or (), name, console)


@schedule.command(name="list")
def schedule_list(overrides: SetOption = None, cluster: ClusterOption = DEFAULT_CLUSTER) -> None:
    """Show the recurring runs."""
    from pipeline import kubeflow_session

    schedules = kubeflow_session.connect(cluster, overrides or ()).schedules()
    if not schedules:
        console.print("there are no schedules.")
        return
    table = Table()
    for heading in ("name", "cron", "state", "since", "id"):
        table.add_column(heading)
    for found in schedules:
        trigger = found.trigger.cron_schedule if found.trigger else None
        table.add_row(
            found.display_name,
            trigger.cron if trigger else "-",
            {"ENABLED": "on", "DISABLED": "paused"}.get(found.status or "", found.status or "-"),
            f"{found.created_at:%Y-%m-%d %H:%M}" if found.created_at else "-",
            found.recurring_run_id,
        )
    console.print(table)


@schedule.command(name="pause")
def schedule_pause(
    name: ScheduleArgument, overrides: SetOption = None, cluster: ClusterOption = DEFAULT_CLUSTER
) -> None:
    """Start no more runs of a schedule until it is resumed."""
    from pipeline import kubeflow_session

    kubeflow_session.connect(cluster, overrides or ()).pause_schedule(name)
    console.print(f"paused {name}.", highlight=False)


@schedule.command(name="resume")
def schedule_resume(
    name: ScheduleArgument, overrides: SetOption = None, cluster: ClusterOption = DEFAULT_CLUSTER
) -> None:
    """Start runs of a paused schedule again."""
    from pipeline import kubeflow_session

    kubeflow_session.connect(cluster, overrides or ()).resume_schedule(name)
    console.print(f"resumed {name}.", highlight=False)


@schedule.command(name="delete")
def schedule_delete(
    name: ScheduleArgument, overrides: SetOption = None, cluster: ClusterOption = DEFAULT_CLUSTER
) -> None:
    """Delete a schedule; the runs that it started go on."""
    from pipeline import kubeflow_session

    kubeflow_session.connect(cluster, overrides or ()).delete_schedule(name)
    console.print(f"deleted {name}.", highlight=False)
