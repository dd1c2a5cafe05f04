"""Starts and stops a model server on a folder of versions.

`tensorflow_model_server` where it is on PATH, else TF Serving's container where Docker has
its image, else the embedded server. Imports nothing heavy: the server is a process of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from serving.errors import ServerStartError

DOCKER_IMAGE: Final = "tensorflow/serving:2.19.1"
STOP_TIMEOUT_S: Final = 15.0
_DOCKER_TIMEOUT_S: Final = 10.0
_CONTAINER_PORT: Final = 8500


class ServerKind(StrEnum):
    """The servers that can be started, the most like production first."""

    TENSORFLOW_MODEL_SERVER = "tensorflow_model_server"
    """TF Serving's own program, on PATH."""

    DOCKER = "docker"
    """TF Serving's container."""

    EMBEDDED = "embedded"
    """serving/server."""


@dataclass(frozen=True)
class RunningServer:
    """A model server that was started here."""

    address: str
    kind: ServerKind
    log: Path
    process: subprocess.Popen[bytes]

    def check(self) -> None:
        """Raises ServerStartError where the process has ended."""
        if self.process.poll() is not None:
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            if self.kind == ServerKind.DOCKER:  # it says first what is wrong, then how to get help
                lines = lines[:1]
            raise ServerStartError(
                f"the model server ended with exit code {self.process.returncode}: "
                f"{lines[-1] if lines else 'it said nothing'} (log: {self.log})"
            )


@contextlib.contextmanager
def running(
    name: str,
    base_path: Path,
    log: Path,
    host: str = "127.0.0.1",
    port: int | None = None,
    flags: Sequence[str] = (),
    kind: ServerKind | None = None,
) -> Iterator[RunningServer]:
    """A model server, from entry to exit.

    It may not be ready yet: see `Client.wait_until_ready`.

    Args:
      name: the model's name.
      base_path: the folder with its versions.
      log: the file for what the server prints.
      host: where to listen. `tensorflow_model_server` listens on all interfaces whatever
        is said here, as it has no flag for that.
      port: the gRPC port; None for a free one.
      flags: more of TF Serving's flags.
      kind: the server to start; None for the first that is there.

    Raises:
      ServerStartError: another program has the port, there is no server of that kind, or it
        cannot take a flag.
        Without the check, a server that is there already would be taken for the one that
        failed to start.
    """
    if port is None:
        port = free_port(host)
    elif not _is_free(host, port):
        raise ServerStartError(f"{host}:{port} is in use by another program: take another --port.")
    kind = kind or available()
    container = f"mnist-tfx-{uuid.uuid4().hex[:12]}"
    command = _command(kind, name, base_path.resolve(), host, port, flags, container)
    with log.open("wb") as log_file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log_file, stderr=subprocess.STDOUT
        )
    try:
        yield RunningServer(f"{host}:{port}", kind, log, process)
    finally:
        stop(process)
        if kind == ServerKind.DOCKER:  # where its client was killed, the container goes on
            _docker("rm", "--force", container)


def available() -> ServerKind:
    """The kind of server that this machine has, the most like production first."""
    if shutil.which(ServerKind.TENSORFLOW_MODEL_SERVER):
        return ServerKind.TENSORFLOW_MODEL_SERVER
    # Only where the image is there already: nobody asked for a download of gigabytes.
    if shutil.which(ServerKind.DOCKER) and _docker("image", "inspect", DOCKER_IMAGE):
        return ServerKind.DOCKER
    return ServerKind.EMBEDDED


def stop(process: subprocess.Popen[Any], timeout_s: float = STOP_TIMEOUT_S) -> None:
    """Asks a process to end, and ends it when it has not within `timeout_s`."""
    process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        # As a server does: a port that was in use a moment ago is not in use.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _command(
    kind: ServerKind,
    name: str,
    base_path: Path,
    host: str,
    port: int,
    flags: Sequence[str],
    container: str,
) -> list[str]:
    if kind == ServerKind.DOCKER:
        where = f"/models/{name}"
        docker = [ServerKind.DOCKER, "run", "--rm", f"--name={container}", "--init"]
        docker += ["--read-only", "--cap-drop=ALL", f"--user={os.getuid()}:{os.getgid()}"]
        docker += [f"--publish={host}:{port}:{_CONTAINER_PORT}", *_published(host, flags)]
        docker += [f"--volume={base_path}:{where}:ro", "--entrypoint=tensorflow_model_server"]
        model = [f"--model_name={name}", f"--model_base_path={where}"]
        return [*docker, DOCKER_IMAGE, f"--port={_CONTAINER_PORT}", *model, *flags]
    model = [f"--port={port}", f"--model_name={name}", f"--model_base_path={base_path}", *flags]
    if kind == ServerKind.TENSORFLOW_MODEL_SERVER:
        binary = shutil.which(ServerKind.TENSORFLOW_MODEL_SERVER)
        if binary is None:
            raise ServerStartError(f"{ServerKind.TENSORFLOW_MODEL_SERVER} is not on PATH.")
        return [binary, *model]
    return [sys.executable, "-m", "serving.server", f"--host={host}", *model]


def _published(host: str, flags: Sequence[str]) -> list[str]:
    """The ports that flags name, as Docker's options.

    Raises:
      ServerStartError: a flag names a file, which a container does not see.
    """
    options = []
    for flag in flags:
        name, _, value = flag.partition("=")
        if name == "--rest_api_port":
            options.append(f"--publish={host}:{value}:{value}")
        elif name.endswith("_file"):
            raise ServerStartError(
                f"{flag}: a container does not see this file; take another server, or the files in "
                "serving/deploy."
            )
    return options


def _docker(*arguments: str) -> bool:
    """Whether a Docker command worked out; an engine that does not answer does not count."""
    try:
        done = subprocess.run(
            ["docker", *arguments], capture_output=True, check=False, timeout=_DOCKER_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
