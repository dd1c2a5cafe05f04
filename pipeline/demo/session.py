"""`mnist-tfx demo`: a model server, and the page's own server, until interrupted."""

from __future__ import annotations

import contextlib
import socket
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Final

import uvicorn
from rich.console import Console

from pipeline.demo import app
from pipeline.demo.app import Demo
from pipeline.local import dataset_source
from pipeline.runs.workspace import Workspace
from pipeline.settings.errors import ExitCode, PipelineError
from serving import addresses, launcher
from serving.client import Client

HOST: Final = "127.0.0.1"  # the page has no sign-in


def run(
    root: Path,
    name: str,
    port: int,
    data_dir: Path | None,
    console: Console,
    opens_browser: bool,
) -> ExitCode:
    """Serves the newest pushed model and the page until interrupted.

    A run that goes on at the same time is shown, and its model is served when it is pushed.

    Args:
      root: the workspace.
      name: the model's name.
      port: the port of the page; 0 for a free one.
      data_dir: the folder with the test images to show; None for the cached MNIST.
      console: where to print.
      opens_browser: whether to open the page in the browser.

    Raises:
      PipelineError: the workspace does not exist, or contains no such model.
      DataError: `data_dir` contains no test images.
      ServerStartError: the port is in use, or no model server can be started.
    """
    workspace = Workspace(root)
    if not workspace.exists:
        raise PipelineError(
            f"{root} contains no run; run `mnist-tfx run` first, or choose another folder with "
            "--root."
        )
    if port:
        addresses.check_free(HOST, port)
    else:
        port = addresses.free_port(HOST)
    if not workspace.is_in_use:  # else a run may be making the first model
        workspace.check_pushed(name)
    data = data_dir or dataset_source.cache_folder()
    if data_dir:
        dataset_source.read_test_split(data_dir)
    serving = workspace.serving(name)
    serving.mkdir(parents=True, exist_ok=True)
    log = root / "server-demo.txt"
    with (
        launcher.running(name, serving, log) as server,
        Client(server.address, name) as client,
    ):
        demo = Demo(workspace, client, server.check, data if data.is_dir() else None)
        url = f"http://{HOST}:{port}/"

        def show() -> None:
            console.print(
                f"page    {url}\nserver  {server.address} ({server.kind}), log {log}\n"
                "Press Ctrl-C to end.",
                highlight=False,
                soft_wrap=True,
            )
            if opens_browser:
                # In a thread: a browser in the terminal would stop the server that it asks.
                threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

        config = uvicorn.Config(
            app.create(demo),
            HOST,
            port,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=2,
        )
        # It ends its requests, and then raises the signal again.
        with contextlib.suppress(KeyboardInterrupt):
            _Server(config, show).run()
    return ExitCode.OK


class _Server(uvicorn.Server):
    """Calls a function when it listens: a browser that came earlier would be refused."""

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None]):
        super().__init__(config)
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()
