"""The command line, `mnist-tfx`. Thin: it parses, delegates, and says in one line what went wrong.

Exit codes: pipeline/errors.py. What only some commands need is imported within them, so
that help and mistakes are answered at once.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipeline import cli_cluster, cli_review, native_output
from pipeline.cli_options import (
    DEFAULT_ROOT,
    ConfigOption,
    DataOption,
    NameOption,
    RootOption,
    SetOption,
    SpanOption,
    with_span,
)
from pipeline.errors import ConfigError, ExitCode, PipelineError
from serving.errors import ServingError
from serving.images import Polarity
from serving.launcher import ServerKind

app = typer.Typer(
    help="A TFX pipeline for the MNIST convolutional network: run it, serve it, ask it, submit it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(cli_cluster.app)
app.add_typer(cli_review.app)
console = Console()


@app.command()
def run(
    config: ConfigOption = "local",
    overrides: SetOption = None,
    data_dir: DataOption = None,
    root: RootOption = DEFAULT_ROOT,
    span: SpanOption = None,
) -> None:
    """Run the pipeline, push the model, and ask it for predictions."""
    from pipeline import config as configuration
    from pipeline import local_session

    settings = configuration.load(config, with_span(overrides, span))
    exit_code = local_session.run(settings, root.resolve(), data_dir, console)
    raise typer.Exit(exit_code)


@app.command()
def data(
    config: ConfigOption = "local",
    overrides: SetOption = None,
    data_dir: DataOption = None,
    into: Annotated[
        Path | None, typer.Option(help="The folder to fetch into, in the place of the cache.")
    ] = None,
    span: SpanOption = None,
) -> None:
    """Fetch the data set, or check the one in a folder; prints where it is."""
    from pipeline import config as configuration
    from pipeline import local_session

    settings = configuration.load(config, with_span(overrides, span))
    if data_dir and into:
        raise ConfigError("--data-dir is for checking a folder, --into for filling one: say one.")
    folder = local_session.prepare_data(settings.data, data_dir, console, into)
    console.print(str(folder), highlight=False, soft_wrap=True)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def serve(
    context: typer.Context,
    root: RootOption = DEFAULT_ROOT,
    name: NameOption = "mnist",
    host: Annotated[str, typer.Option(help="The interface to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The gRPC port; 0 takes a free one.")] = 8500,
    server: Annotated[
        ServerKind | None, typer.Option(help="The server to start; the first that is there.")
    ] = None,
) -> None:
    """Serve the newest pushed model until interrupted; new versions are picked up.

    TF Serving's flags can be added, such as --rest_api_port=8501 --enable_batching.
    """
    from pipeline import local_session

    exit_code = local_session.serve(root.resolve(), name, host, port, console, context.args, server)
    raise typer.Exit(exit_code)


@app.command()
def predict(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="FILE|idx:N ...", help="PNG, JPEG, .npy, or test image N."),
    ],
    address: Annotated[str, typer.Option(help="The server's gRPC address.")] = "127.0.0.1:8500",
    name: NameOption = "mnist",
    data_dir: DataOption = None,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.001, help="Seconds.")] = 10.0,
    polarity: Annotated[
        Polarity, typer.Option(help="How the pictures are drawn; auto looks at their edges.")
    ] = Polarity.AUTO,
    version: Annotated[int | None, typer.Option(min=0, help="The version to ask.")] = None,
    label: Annotated[str | None, typer.Option(help="The label of the version to ask.")] = None,
    ca: Annotated[
        Path | None, typer.Option(help="Connect with TLS; the PEM file of the authority.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="The client's own certificate, PEM; with --key.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="The key to --certificate, PEM.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask a running server what digits these images are."""
    from pipeline import ask

    if bool(certificate) != bool(key) or (certificate and not ca):
        raise ConfigError("--certificate, --key and --ca go together.")
    questions = ask.read(inputs, data_dir, polarity)
    with native_output.muted():  # it imports TensorFlow: what can be wrong is looked at before
        from serving.client import Client, Tls
    tls = Tls(ca, certificate, key) if ca else None
    with Client(address, name, timeout_s, tls) as client:
        answers = [
            answer for question in questions for answer in ask.ask(client, question, version, label)
        ]
    if as_json:
        print(json.dumps([answer.model_dump(exclude={"kind"}) for answer in answers], indent=1))
    else:
        from pipeline import run_view

        console.print(run_view.answers_table(answers))


@app.command()
def status(root: RootOption = DEFAULT_ROOT) -> None:
    """Show the runs in a workspace, and the versions that they pushed."""
    from pipeline.workspace import Workspace

    workspace = Workspace(root.resolve())
    records = workspace.records()
    if not records:
        raise PipelineError(f"there is no run in {workspace.root}: start one with mnist-tfx run.")
    table = Table(title=f"runs in {workspace.root}", title_justify="left")
    for heading in ("run", "pipeline", "result", "accuracy", "version", "took"):
        table.add_column(heading)
    for record in records:
        outcome = record.outcome
        pushed = Path(outcome.pushed) if outcome and outcome.pushed else None
        version = f"{pushed.name}{'' if pushed.is_dir() else ' (removed)'}" if pushed else "-"
        table.add_row(
            record.run_id,
            record.pipeline,
            record.result,
            f"{outcome.accuracy:.4f}" if outcome else "-",
            version,
            f"{record.seconds:.0f} s",
        )
    console.print(table)
    if records[-1].message:
        console.print(f"The last run: {records[-1].message}", highlight=False)


@app.command()
def models(
    root: RootOption = DEFAULT_ROOT,
    name: NameOption = "mnist",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the pushed versions: how they did, and where they came from."""
    from pipeline import releases, run_view
    from pipeline.workspace import Workspace

    workspace = Workspace(root.resolve())
    found = releases.releases(workspace, name)
    if not found:
        raise PipelineError(
            f"no model has been pushed into {workspace.serving(name)}: run mnist-tfx run first, or "
            "name another folder with --root."
        )
    if as_json:
        print(json.dumps([release.model_dump(mode="json") for release in found], indent=1))
    else:
        console.print(run_view.releases_table(found))


@app.command()
def rollback(
    version: Annotated[
        int | None, typer.Argument(help="The version to serve; the one before, if not said.")
    ] = None,
    root: RootOption = DEFAULT_ROOT,
    name: NameOption = "mnist",
) -> None:
    """Serve a former version again, at once and without training; or take that back."""
    from pipeline import releases
    from pipeline.workspace import Workspace

    before, after = releases.roll_back(Workspace(root.resolve()), name, version)
    if before == after:
        console.print(f"version {after} of {name} is served already", highlight=False)
    else:
        console.print(f"{name}: version {after} is served, not {before} any more", highlight=False)


def main() -> None:
    """The console script: expected errors become one line and an exit code."""
    # As Ctrl-C does, so that what was started is stopped on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except (PipelineError, ServingError) as error:
        exit_code = getattr(error, "exit_code", ExitCode.FAILED)
        print(f"mnist-tfx: {error}", file=sys.stderr)
        sys.exit(exit_code)
    except SystemExit as ended:
        if ended.code == ExitCode.INTERRUPTED:  # typer has turned KeyboardInterrupt into this
            print("mnist-tfx: interrupted.", file=sys.stderr)
        raise
    except Exception as error:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", prefix="mnist-tfx-", suffix=".txt", delete=False
        ) as details:
            traceback.print_exc(file=details)
        name = type(error).__name__
        print(f"mnist-tfx: {name}: {error} (details: {details.name})", file=sys.stderr)
        sys.exit(ExitCode.FAILED)


if __name__ == "__main__":
    main()
