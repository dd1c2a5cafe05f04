"""The commands for models: serve, demo, predict, models, export, rollback."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipeline.cli.app import MODELS, App
from pipeline.cli.options import DataOption, NameOption, RootOption
from pipeline.export.format import Format
from pipeline.settings import defaults
from pipeline.settings.errors import ConfigError, PipelineError
from serving.errors import ModelNotFoundError
from serving.launcher import ServerKind
from serving.polarity import Polarity

app = App()
console = Console()

_CONNECT_TIMEOUT_S = 2.0
_LARGEST_PORT = 65535


@app.add_command(
    group=MODELS,
    example="mnist-tfx serve --port 8500 --rest_api_port=8501",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def serve(
    context: typer.Context,
    root: RootOption = defaults.ROOT,
    name: NameOption = defaults.NAME,
    host: Annotated[str, typer.Option(help="The interface to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The gRPC port; 0 for a free one.")
    ] = 8500,
    server: Annotated[
        ServerKind | None,
        typer.Option(help="The server to start; the default is the first available."),
    ] = None,
) -> None:
    """Serve the newest pushed model until interrupted; new versions are loaded automatically.

    Further flags of TF Serving may follow, such as --rest_api_port=8501 --enable_batching.
    """
    from pipeline.local import session

    exit_code = session.serve(root.resolve(), name, host, port, console, context.args, server)
    raise typer.Exit(exit_code)


@app.add_command(group=MODELS, example="mnist-tfx demo --port 8600")
def demo(
    root: RootOption = defaults.ROOT,
    name: NameOption = defaults.NAME,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port of the page; 0 for a free one.")
    ] = 8600,
    data_dir: DataOption = None,
    is_without_browser: Annotated[
        bool, typer.Option("--no-browser", help="Do not open the page in the browser.")
    ] = False,
) -> None:
    """Open a local page: draw digits, see the feature maps, look at runs and versions."""
    from pipeline.demo import session

    raise typer.Exit(
        session.run(root.resolve(), name, port, data_dir, console, not is_without_browser)
    )


@app.add_command(group=MODELS, example="mnist-tfx predict idx:0 digit.png")
def predict(  # noqa: PLR0913 - an argument per option
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="FILE|idx:N ...", help="PNG, JPEG, .npy, or test image N."),
    ],
    address: Annotated[str, typer.Option(help="The server's gRPC address.")] = "127.0.0.1:8500",
    name: NameOption = defaults.NAME,
    data_dir: DataOption = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=0.001, help="The deadline of a request, in seconds.")
    ] = 10.0,
    polarity: Annotated[
        Polarity,
        typer.Option(help="The colours of ink and paper; auto decides by the picture's edge."),
    ] = Polarity.AUTO,
    saved: Annotated[
        Path | None,
        typer.Option("--save-images", help="A folder to save the images of 28x28 pixels in."),
    ] = None,
    version: Annotated[int | None, typer.Option(min=0, help="The version to ask.")] = None,
    label: Annotated[str | None, typer.Option(help="The label of the version to ask.")] = None,
    ca: Annotated[
        Path | None, typer.Option(help="Connect with TLS; the PEM file of the authority.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="The client's own certificate, PEM; requires --key.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="The key of --certificate, PEM.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Classify images with a running server."""
    from pipeline.local import sample_requests
    from serving.client import Client, Tls

    if bool(certificate) != bool(key) or (certificate and not ca):
        raise ConfigError(
            "--certificate requires --key and --ca, and --key requires --certificate."
        )
    if version is not None and label is not None:
        raise ConfigError("--version and --label are both given; give only one of them.")
    samples = sample_requests.read(inputs, data_dir, polarity)
    if saved:
        sample_requests.save(samples, saved)
    _check_server(address)
    tls = Tls(ca, certificate, key) if ca else None
    try:
        with Client(address, name, timeout_s, tls) as client:
            answers = [
                answer
                for sample in samples
                for answer in sample_requests.send(client, sample, version, label)
            ]
    except ModelNotFoundError as error:
        asked = name if version is None else f"version {version} of {name}"
        raise PipelineError(
            f"the server at {address} does not serve {asked}; "
            f"give another --name or --version ({error})."
        ) from error
    if as_json:
        print(
            json.dumps(
                [answer.model_dump(exclude={"kind", "time"}) for answer in answers], indent=1
            )
        )
    else:
        from pipeline.view import tables

        tables.print_full(console, tables.answers(answers))


def _check_server(address: str) -> None:
    """Raises PipelineError at once if nothing listens, which a client would retry for long."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or int(port) > _LARGEST_PORT:
        raise ConfigError(f"--address {address}: expected HOST:PORT, a port up to {_LARGEST_PORT}.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_TIMEOUT_S).close()
    except OSError as error:
        reason = error.strerror or error
        raise PipelineError(
            f"no model server listens at {address} ({reason}); start one with `mnist-tfx serve`, "
            "or give another --address."
        ) from error


@app.add_command(group=MODELS, example="mnist-tfx models")
def models(
    root: RootOption = defaults.ROOT,
    name: NameOption = defaults.NAME,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the pushed versions: their results, and their origin."""
    from pipeline.runs import releases
    from pipeline.runs.workspace import Workspace
    from pipeline.view import tables

    workspace = Workspace(root.resolve())
    found = releases.releases(workspace, name)
    if not found:
        workspace.check_pushed(name)
    if as_json:
        print(json.dumps([release.model_dump(mode="json") for release in found], indent=1))
    else:
        tables.print_full(console, tables.releases(found))


@app.add_command(group=MODELS, example="mnist-tfx export --to onnx -o mnist.onnx")
def export(
    target: Annotated[Format, typer.Option("--to", help="The format.")],
    version: Annotated[
        int | None, typer.Argument(help="The version; the default is the served one.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The file; the default is NAME-VERSION.SUFFIX."),
    ] = None,
    root: RootOption = defaults.ROOT,
    name: NameOption = defaults.NAME,
    data_dir: DataOption = None,
) -> None:
    """Export a pushed version for LiteRT, ONNX or Keras, and compare its answers.

    The file takes a batch of uint8 images of 28x28 pixels in 0..255: the scaling is a part of it.
    """
    from pipeline.export import session
    from pipeline.runs.workspace import Workspace

    session.run(Workspace(root.resolve()), name, version, target, output, data_dir, console)


@app.add_command(group=MODELS, example="mnist-tfx rollback")
def rollback(
    version: Annotated[
        int | None,
        typer.Argument(help="The version to serve; the default is the one before the served one."),
    ] = None,
    root: RootOption = defaults.ROOT,
    name: NameOption = defaults.NAME,
) -> None:
    """Serve an earlier version again, at once and without training.

    `rollback VERSION` also undoes a roll-back.
    """
    from pipeline.runs import releases
    from pipeline.runs.workspace import Workspace

    workspace = Workspace(root.resolve())
    before, after = releases.roll_back(workspace, name, version)
    if before == after:
        console.print(f"{name}: version {after} is already served", highlight=False)
    else:
        console.print(
            f"{name}: version {after} is served instead of {before}; to undo this, run "
            f"`mnist-tfx rollback {before}{workspace.options(name)}`",
            highlight=False,
            soft_wrap=True,
        )
