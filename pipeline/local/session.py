"""The commands of one machine: get the data, run the pipeline, serve the model."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from pipeline.local import dataset_source, runner, span_folders
from pipeline.runs import events, webhook
from pipeline.runs.run_record import RunRecord
from pipeline.runs.workspace import Workspace
from pipeline.settings.errors import ConfigError, ExitCode, PipelineError
from pipeline.settings.pipeline_config import DataConfig, PipelineConfig
from pipeline.view import tables
from pipeline.view.run_view import RunView
from pipeline.view.summary import summary
from serving import launcher
from serving.launcher import ServerKind
from serving.server import flags as server_flags

READY_TIMEOUT_S = 120.0


def run(
    config: PipelineConfig,
    root: Path,
    data_dir: Path | None,
    console: Console,
    on_event: Callable[[events.Event], None] | None = None,
) -> ExitCode:
    """Runs the pipeline, and sends a few images to the pushed model.

    Args:
      config: the configuration.
      root: the workspace.
      data_dir: the folder with the IDX files; None for MNIST, downloaded if needed.
      console: where to show the run.
      on_event: called with each event; then nothing but a download is shown on the console.

    Raises:
      DataError: the IDX files are not available.
      PipelineError: `root` cannot be used.
      WorkspaceBusyError: another run is using `root`.
    """
    workspace = Workspace(root)
    workspace.check_usable()
    data = prepare_data(config.data, data_dir, console)
    run_id = runner.new_run_id(workspace)
    folder = workspace.run_folder(run_id)
    # The server takes seconds to start, so it starts now, beside the pipeline. It finds the pushed
    # version as TF Serving does, by polling its folder.
    serving = workspace.serving(config.name)
    serving.mkdir(parents=True, exist_ok=True)
    chosen = config.serving.server
    kind = None if chosen == "auto" else ServerKind(chosen)
    with launcher.running(config.name, serving, folder / "server.txt", kind=kind) as server:
        if on_event:
            record = runner.run(config, workspace, data, run_id, on_event, server.address)
        else:
            files = span_folders.folder_of_files(config.data, data)
            _print(console, f"data  {files}\nlog   {folder / runner.LOG}\n")
            with RunView(console) as view:
                record = runner.run(config, workspace, data, run_id, view.on_event, server.address)
            _show_end(console, workspace, record, view.answers, f" ({server.kind} server)")
    if problem := webhook.send(webhook.notice_of(record)):
        Console(stderr=True).print(f"warning: {problem}", highlight=False, soft_wrap=True)
    return _exit_code(record)


def watch(workspace: Workspace, console: Console) -> ExitCode:
    """Shows the run that is going on in a workspace, until its end; the exit code is the run's.

    Raises:
      PipelineError: no run is going on.
    """
    records = workspace.records()
    if not (records and records[-1].exit_code is None and workspace.is_in_use):
        raise PipelineError(
            f"no run is going on in {workspace.root}; `mnist-tfx status{workspace.options()}` "
            "lists the runs."
        )
    run_id = records[-1].run_id
    _print(console, f"run   {run_id}\nlog   {workspace.run_folder(run_id) / runner.LOG}\n")
    with RunView(console) as view:
        for event in runner.follow(workspace, run_id):
            view.on_event(event)
    record = next(record for record in workspace.records() if record.run_id == run_id)
    if record.exit_code is None:
        command = f"mnist-tfx run{workspace.options()}"
        _print(console, f"the run {run_id} was interrupted; the next `{command}` continues it.")
        return ExitCode.INTERRUPTED
    _show_end(console, workspace, record, view.answers)
    return _exit_code(record)


def _show_end(
    console: Console,
    workspace: Workspace,
    record: RunRecord,
    answers: Sequence[events.Answer],
    server: str = "",
) -> None:
    if answers:
        by = f"answered by version {answers[0].version} over gRPC{server}"
        _print(console, f"\n{len(answers)} test images, {by}:\n")
        tables.print_full(console, tables.answers(answers))
    _print(console, summary(record, workspace.run_folder(record.run_id) / runner.LOG))


def _exit_code(record: RunRecord) -> ExitCode:
    assert record.exit_code is not None, "the run has ended"
    return ExitCode(record.exit_code)


def _print(console: Console, text: str | Text) -> None:
    """Prints without breaking a path in two."""
    console.print(text, highlight=False, soft_wrap=True, markup=False)


def prepare_data(
    config: DataConfig, data_dir: Path | None, console: Console, into: Path | None = None
) -> Path:
    """The folder with the data set's files, or with its spans; downloaded if needed.

    A download is shown on the console.

    Raises:
      DataError: the files are not available.
    """
    if config.chosen_span is not None:
        return span_folders.prepare(data_dir, config.span_folder, config.chosen_span)
    columns = (
        TextColumn("downloading {task.description}"),
        BarColumn(bar_width=20),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    progress = Progress(*columns, console=console, transient=True)

    def show(name: str, done: int, total: int | None) -> None:
        if not console.is_interactive:
            return
        progress.start()
        if name not in tasks:
            tasks[name] = progress.add_task(name)
        progress.update(tasks[name], completed=done, total=total)

    try:
        return dataset_source.prepare(config.dataset, data_dir, show, into)
    finally:
        if tasks:  # stopping a display that was not started prints an empty line
            progress.stop()


def serve(
    root: Path,
    name: str,
    host: str,
    port: int,
    console: Console,
    flags: Sequence[str] = (),
    kind: ServerKind | None = None,
) -> ExitCode:
    """Runs a model server on the newest pushed model until it ends or is interrupted.

    Args:
      root: the workspace.
      name: the model's name.
      host: the interface to listen on.
      port: the gRPC port; 0 for a free one.
      console: where to print.
      flags: further flags of TF Serving.
      kind: the server to start; None for the first available.

    Raises:
      ConfigError: a flag is wrong; only the flags of the embedded server are checked here.
      PipelineError: no model has been pushed.
      ServingError: the server did not start.
    """
    from serving.client import Client  # imports gRPC, which `run` does not need

    kind = kind or launcher.available()
    flags = launcher.joined(flags)
    if kind is ServerKind.EMBEDDED:
        try:
            server_flags.parse([f"--model_base_path={root}", *flags], server_flags.RaisingParser)
        except server_flags.FlagsError as error:
            raise ConfigError(f"serve: {error}") from error
    workspace = Workspace(root)
    workspace.check_pushed(name)
    log = workspace.root / f"server-{port or os.getpid()}.txt"
    with launcher.running(
        name, workspace.serving(name), log, host, port or None, flags, kind
    ) as server:
        version = ""
        if not any(flag.startswith("--ssl_config_file") for flag in flags):
            with Client(server.address, name) as client:
                number = client.wait_until_ready(
                    timeout_s=READY_TIMEOUT_S, check=server.check, fail_fast=True
                )
            version = f" version {number}"
        rest = next((f.partition("=")[2] for f in flags if f.startswith("--rest_api_port=")), "")
        rest_url = f", http://{host}:{rest}/v1/models/{name}" if rest else ""
        console.print(
            f"serving {name}{version} at {server.address} ({server.kind}){rest_url}, log {log}\n"
            f"try it: mnist-tfx predict idx:0 --address {server.address} --name {name}",
            highlight=False,
            soft_wrap=True,
        )
        try:
            server.process.wait()
        except KeyboardInterrupt:
            return ExitCode.OK
        server.check()
    return ExitCode.OK
