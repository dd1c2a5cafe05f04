"""`mnist-tfx`: the commands for runs. The other commands are added to the same `app`.

Imports that only some commands need are within these commands, so that help and mistakes are
answered at once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipeline.cli import (
    kubeflow_commands,
    maintenance_commands,
    model_commands,
    review_commands,
)
from pipeline.cli.app import RUNS, App
from pipeline.cli.options import (
    ConfigOption,
    DataOption,
    RootOption,
    SetOption,
    SpanOption,
    with_span,
)
from pipeline.settings import defaults
from pipeline.settings.errors import ConfigError, PipelineError

app = App(
    help="A TFX pipeline for the MNIST network: run, serve, query and submit it.",
    no_args_is_help=True,
)
console = Console()


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        import importlib.metadata

        print(f"mnist-tfx {importlib.metadata.version('mnist-tfx')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Options of the program itself."""


@app.add_command(group=RUNS, example="mnist-tfx run --config quick")
def run(
    config: ConfigOption = "local",
    overrides: SetOption = None,
    data_dir: DataOption = None,
    root: RootOption = defaults.ROOT,
    span: SpanOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the events of the run as JSON, one per line.")
    ] = False,
) -> None:
    """Run the pipeline, push the model, and send it a few test images."""
    from pipeline.local import session
    from pipeline.runs import events
    from pipeline.settings import pipeline_config

    def print_event(event: events.Event) -> None:
        try:
            print(events.to_json(event), flush=True)
        except BrokenPipeError:  # the reader, such as `head`, has ended; the run goes on
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    settings = pipeline_config.load(config, with_span(overrides, span))
    exit_code = session.run(
        settings,
        root.resolve(),
        data_dir,
        Console(stderr=True) if as_json else console,
        print_event if as_json else None,
    )
    raise typer.Exit(exit_code)


@app.add_command(group=RUNS, example="mnist-tfx data --into mnist")
def data(
    config: ConfigOption = "local",
    overrides: SetOption = None,
    data_dir: DataOption = None,
    into: Annotated[
        Path | None, typer.Option(help="The folder to download into, instead of the cache.")
    ] = None,
    span: SpanOption = None,
) -> None:
    """Download the data set, or check the one in a folder; prints the folder."""
    from pipeline.local import session
    from pipeline.settings import pipeline_config

    settings = pipeline_config.load(config, with_span(overrides, span))
    if data_dir and into:
        raise ConfigError("--data-dir checks a folder and --into fills one; give only one of them.")
    folder = session.prepare_data(settings.data, data_dir, console, into)
    console.print(str(folder), highlight=False, soft_wrap=True)


@app.add_command(group=RUNS, example="mnist-tfx status --watch")
def status(
    root: RootOption = defaults.ROOT,
    is_watching: Annotated[
        bool, typer.Option("--watch", help="Show the run that is going on, until its end.")
    ] = False,
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", help="A cluster file: the runs on Kubeflow Pipelines instead."),
    ] = None,
    run_id: Annotated[
        str | None,
        typer.Option("--run", help="With --watch --cluster: the run; the default is the newest."),
    ] = None,
) -> None:
    """Show the runs in a workspace or on a cluster, or watch one.

    With --watch, the exit code is that of the run. An interrupt ends the command, not the run.
    """
    if run_id and not (is_watching and cluster):
        raise ConfigError("--run requires --watch and --cluster.")
    if cluster and root != defaults.ROOT:
        raise ConfigError("use --root for local runs or --cluster for those of Kubeflow, not both.")
    if cluster:
        from pipeline.kubeflow import session as kubeflow_session
        from pipeline.kubeflow.cluster import cluster_config

        settings = cluster_config.load(cluster, ())
        if is_watching:
            raise typer.Exit(kubeflow_session.watch_run(settings, run_id, console))
        kubeflow_session.show_runs(settings, console)
        return
    from pipeline.local import session
    from pipeline.runs.workspace import Workspace
    from pipeline.view import tables

    workspace = Workspace(root.resolve())
    if is_watching:
        raise typer.Exit(session.watch(workspace, console))
    records = workspace.records()
    if not records:
        raise PipelineError(f"{workspace.root} contains no run; start one with `mnist-tfx run`.")
    print(f"runs in {workspace.root}")
    tables.print_full(console, tables.runs(records, workspace.is_in_use))
    if records[-1].message:
        console.print(f"The last run: {records[-1].message}", highlight=False)


app.add_typer(model_commands.app)
app.add_typer(review_commands.app)
app.add_typer(kubeflow_commands.app)
app.add_typer(maintenance_commands.app)
