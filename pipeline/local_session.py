"""What a person does on one machine: get the data, run the pipeline, serve, and see it all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

from pipeline import data as data_files
from pipeline import native_output
from pipeline.config import DataConfig, PipelineConfig
from pipeline.errors import ExitCode, PipelineError
from pipeline.run_view import RunView, answers_table, summary
from pipeline.runners import local
from pipeline.workspace import Workspace
from serving import launcher
from serving.launcher import RunningServer, ServerKind

READY_TIMEOUT_S = 120.0


def run(config: PipelineConfig, root: Path, data_dir: Path | None, console: Console) -> ExitCode:
    """Runs the pipeline, then asks the model that it pushed for a few digits.

    Raises:
      DataError: the IDX files could not be had.
      WorkspaceBusyError: another run is using `root`.
    """
    data = prepare_data(config.data, data_dir, console)
    workspace = Workspace(root)
    run_id = local.new_run_id()
    folder = workspace.run_folder(run_id)
    console.print(f"data  {data}\nlog   {folder / local.LOG}\n", highlight=False, soft_wrap=True)
    if config.data.span != "none":
        taken = data_files.folder_of_span(data, config.data.span_folder, config.data.span)
        console.print(f"span  {taken}\n", highlight=False, soft_wrap=True)
    # The server takes seconds to start, so it starts now, beside the pipeline; it finds the
    # version as TF Serving does, by polling its folder.
    serving = workspace.serving(config.name)
    serving.mkdir(parents=True, exist_ok=True)
    chosen = config.serving.server
    kind = None if chosen == "auto" else ServerKind(chosen)
    with (
        launcher.running(config.name, serving, folder / "server.txt", kind=kind) as server,
        RunView(console) as view,
    ):
        record = local.run(config, workspace, data, run_id, view.on_event, server.address)
    if view.answers:
        version = view.answers[0].version
        console.print(
            f"\n{len(view.answers)} digits of the test split, asked of version {version} over gRPC "
            f"({server.kind} server at {server.address}):",
            highlight=False,
            soft_wrap=True,
        )
        console.print(answers_table(view.answers))
    console.print(summary(record, folder / local.LOG), highlight=False, soft_wrap=True)
    return ExitCode(record.exit_code)


def prepare_data(
    config: DataConfig, data_dir: Path | None, console: Console, into: Path | None = None
) -> Path:
    """The folder with the data set's files, or with its spans, fetched if need be.

    A download is shown.

    Raises:
      DataError: they could not be had.
    """
    if config.span != "none":
        return data_files.prepare_span(data_dir, config.span_folder, config.span)
    columns = (TextColumn("fetching {task.description}"), BarColumn(), DownloadColumn())
    tasks: dict[str, TaskID] = {}
    progress = Progress(*columns, console=console, transient=True)

    def show(name: str, done: int, total: int | None) -> None:
        progress.start()
        if name not in tasks:
            tasks[name] = progress.add_task(name)
        progress.update(tasks[name], completed=done, total=total)

    try:
        return data_files.prepare(config.dataset, data_dir, show, into)
    finally:
        if tasks:  # a display that was never started leaves an empty line
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
    """Keeps a model server on the newest pushed model until it ends or is interrupted.

    Args:
      root: the workspace.
      name: the model's name.
      host: where to listen.
      port: the gRPC port; 0 takes a free one.
      console: where to say so.
      flags: more of TF Serving's flags.
      kind: the server to start; None for the first that is there.

    Raises:
      PipelineError: no model has been pushed.
      ServingError: the server did not start.
    """
    workspace = Workspace(root)
    if not workspace.served_versions(name):
        raise PipelineError(
            f"no model has been pushed into {workspace.serving(name)}: run mnist-tfx run first, or "
            "name another folder with --root."
        )
    log = workspace.root / "server.txt"
    with launcher.running(
        name, workspace.serving(name), log, host, port or None, flags, kind
    ) as server:
        is_secure = any(flag.startswith("--ssl_config_file") for flag in flags)
        version = "" if is_secure else f" version {_ready_version(server, name)}"
        rest = next((f.partition("=")[2] for f in flags if f.startswith("--rest_api_port=")), "")
        also = f", http://{host}:{rest}/v1/models/{name}" if rest else ""
        console.print(
            f"serving {name}{version} at {server.address} ({server.kind}){also}, log {log}\n"
            f"ask it with: mnist-tfx predict idx:0 --address {server.address} --name {name}",
            highlight=False,
            soft_wrap=True,
        )
        try:
            server.process.wait()
        except KeyboardInterrupt:
            return ExitCode.OK
        server.check()
    return ExitCode.OK


def _ready_version(server: RunningServer, name: str) -> int:
    with native_output.muted():
        from serving.client import Client

    with Client(server.address, name) as client:
        return client.wait_until_ready(timeout_s=READY_TIMEOUT_S, check=server.check)
