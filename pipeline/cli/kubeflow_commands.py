"""The commands for a cluster: compile, submit, schedule."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipeline.cli.app import CLUSTER, App
from pipeline.cli.options import ClusterOption, ConfigOption, ParameterOption, SetOption

app = App()
schedule = App(help="Recurring runs: create, list, pause, resume, delete.")
app.add_typer(schedule, name="schedule", no_args_is_help=True, rich_help_panel=CLUSTER)
console = Console()

DEFAULT_CLUSTER = "kubeflow"
ScheduleArgument = Annotated[str, typer.Argument(metavar="NAME|ID", help="The schedule.")]


class Target(StrEnum):
    """The targets of compilation."""

    KUBEFLOW = "kubeflow"
    VERTEX = "vertex"


@app.add_command(
    "compile", group=CLUSTER, example="mnist-tfx compile --to kubeflow -o pipeline.yaml"
)
def compile_(
    target: Annotated[
        Target, typer.Option("--to", help="Open-source Kubeflow Pipelines, or Vertex AI.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write, *.yaml.")],
    config: ConfigOption = "local",
    overrides: SetOption = None,
    cluster: ClusterOption = DEFAULT_CLUSTER,
) -> None:
    """Compile the pipeline into a file for Kubeflow Pipelines or Vertex AI."""
    from pipeline.kubeflow import session

    settings = session.load(config, cluster, overrides or ())
    session.compile_to(target.value, *settings, output, console)


@app.add_command(group=CLUSTER, example="mnist-tfx submit --cluster mine.toml --wait")
def submit(
    config: ConfigOption = "local",
    overrides: SetOption = None,
    cluster: ClusterOption = DEFAULT_CLUSTER,
    parameters: ParameterOption = None,
    run_name: Annotated[
        str, typer.Option(help="The name of the run; the default contains the time.")
    ] = "",
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow the run; the exit code is that of a local run.")
    ] = False,
) -> None:
    """Compile the pipeline, upload it if it is new, and start a run on Kubeflow Pipelines."""
    from pipeline.kubeflow import session

    settings = session.load(config, cluster, overrides or ())
    code = session.submit(*settings, parameters or (), run_name, wait, console)
    raise typer.Exit(code)


@schedule.add_command(
    "create", example="mnist-tfx schedule create --name nightly --cluster mine.toml"
)
def schedule_create(
    config: ConfigOption = "local",
    overrides: SetOption = None,
    cluster: ClusterOption = DEFAULT_CLUSTER,
    parameters: ParameterOption = None,
    name: Annotated[
        str, typer.Option(help="The name of the schedule; the default is that of the pipeline.")
    ] = "",
) -> None:
    """Start a recurring run, at the times of schedule.cron in the cluster file."""
    from pipeline.kubeflow import session

    settings = session.load(config, cluster, overrides or ())
    session.create_schedule(*settings, parameters or (), name, console)


@schedule.add_command("list", example="mnist-tfx schedule list --cluster mine.toml")
def schedule_list(overrides: SetOption = None, cluster: ClusterOption = DEFAULT_CLUSTER) -> None:
    """Show the recurring runs."""
    from pipeline.kubeflow import session

    schedules = session.connect(cluster, overrides or ()).schedules()
    if not schedules:
        console.print("There are no schedules.")
        return
    rows = []
    for found in schedules:
        trigger = found.trigger.cron_schedule if found.trigger else None
        row = (
            found.display_name,
            trigger.cron if trigger else "-",
            {"ENABLED": "on", "DISABLED": "paused"}.get(found.status or "", found.status or "-"),
            f"{found.created_at:%Y-%m-%d %H:%M}" if found.created_at else "-",
            found.recurring_run_id,
        )
        rows.append(row)
    from pipeline.view import tables

    tables.print_full(console, tables.table(("name", "cron", "state", "since", "id"), rows))


@schedule.add_command("pause", example="mnist-tfx schedule pause nightly --cluster mine.toml")
def schedule_pause(
    name: ScheduleArgument, overrides: SetOption = None, cluster: ClusterOption = DEFAULT_CLUSTER
) -> None:
    """Pause a schedule: it starts no runs until it is resumed."""
    from pipeline.kubeflow import session

    session.connect(cluster, overrides or ()).pause_schedule(name)
    console.print(f"paused {name}.", highlight=False)


@schedule.add_command("resume", example="mnist-tfx schedule resume nightly --cluster mine.toml")
def schedule_resume(
    name: ScheduleArgument, overrides: SetOption = None, cluster: ClusterOption = DEFAULT_CLUSTER
) -> None:
    """Resume a paused schedule."""
    from pipeline.kubeflow import session

    session.connect(cluster, overrides or ()).resume_schedule(name)
    console.print(f"resumed {name}.", highlight=False)


@schedule.add_command("delete", example="mnist-tfx schedule delete nightly --cluster mine.toml")
def schedule_delete(
    name: ScheduleArgument, overrides: SetOption = None, cluster: ClusterOption = DEFAULT_CLUSTER
) -> None:
    """Delete a schedule; runs that it started continue."""
    from pipeline.kubeflow import session

    session.connect(cluster, overrides or ()).delete_schedule(name)
    console.print(f"deleted {name}.", highlight=False)
