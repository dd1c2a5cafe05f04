"""Starts and stops a model server on a folder of versions.

The server is `tensorflow_model_server` if it is on PATH, else TF Serving's container if Docker has
its image, else the embedded server. It is a separate process; this module imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from serving import addresses, child_process
from serving.errors import ServerStartError

DOCKER_IMAGE: Final = "tensorflow/serving:2.19.1"
_DOCKER_TIMEOUT_S: Final = 10.0
_CONTAINER_PORT: Final = 8500


class ServerKind(StrEnum):
    """The servers that can be started, in order of preference."""

    TENSORFLOW_MODEL_SERVER = "tensorflow_model_server"
    """TF Serving's own program."""

    DOCKER = "docker"
    """TF Serving's container."""

    EMBEDDED = "embedded"
    """The server in serving/server/."""


@dataclass(frozen=True)
class RunningServer:
    """A model server that this process started."""

    address: str
    kind: ServerKind
    log: Path
    process: subprocess.Popen[bytes]

    def check(self) -> None:
        """Raises ServerStartError if the process has ended."""
        if self.process.poll() is not None:
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            if self.kind == ServerKind.DOCKER:  # the first line is the error, the last is a hint
                lines = lines[:1]
            raise ServerStartError(
                f"the model server ended with exit code {self.process.returncode}: "
                f"{lines[-1] if lines else 'it printed nothing'} (log: {self.log})"
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
    """A context with a running model server.

    On entry the server may still be loading; see `Client.wait_until_ready`. The thread that enters
    the context must not end before it.

    Args:
      name: the model's name.
      base_path: the folder with its versions.
      log: the file for the server's output.
      host: the interface to listen on. `tensorflow_model_server` has no flag for it, and always
        listens on all interfaces.
      port: the gRPC port; None for a free one.
      flags: further flags of TF Serving, as --NAME=VALUE; see `joined`.
      kind: the server to start; None for the first available.

    Raises:
      ServerStartError: the port is in use, the server is not available, or it does not support a
        flag. The check of the port prevents a client from asking another program.
    """
    if port is None:
        port = addresses.free_port(host)
    else:
        addresses.check_free(host, port)
    kind = kind or available()
    container = f"mnist-tfx-{uuid.uuid4().hex[:12]}"
    command = _command(kind, name, base_path.resolve(), host, port, flags, container)
    try:
        with (
            log.open("wb") as log_file,
            child_process.running(
                command,
                # The embedded server ends when this pipe is closed, also if this process is killed.
                stdin=subprocess.PIPE if kind == ServerKind.EMBEDDED else subprocess.DEVNULL,
                stdout=log_file,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            yield RunningServer(f"{host}:{port}", kind, log, process)
    finally:
        if kind == ServerKind.DOCKER:  # stopping `docker run` does not stop the container
            _docker("rm", "--force", container)


def available() -> ServerKind:
    """The preferred server among those that this machine has."""
    if shutil.which(ServerKind.TENSORFLOW_MODEL_SERVER):
        return ServerKind.TENSORFLOW_MODEL_SERVER
    # Only if the image is present: a run must not download gigabytes unasked.
    if shutil.which(ServerKind.DOCKER) and _docker("image", "inspect", DOCKER_IMAGE):
        return ServerKind.DOCKER
    return ServerKind.EMBEDDED


def joined(flags: Sequence[str]) -> list[str]:
    """Flags with each value joined to its name: --NAME VALUE becomes --NAME=VALUE."""
    result: list[str] = []
    for flag in flags:
        if flag.startswith("--") or not result or "=" in result[-1]:
            result.append(flag)
        else:
            result[-1] += f"={flag}"
    return result


def _ends_with_this_process() -> list[str]:
    """A prefix of a command: its process gets SIGTERM when the thread that started it ends.

    So it does when this process is killed. A program of util-linux asks the kernel for the signal;
    `preexec_fn` could do it, but may block for ever in a process with threads. Without the program,
    the server may outlive this process.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig=TERM", "--"] if setpriv else []


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
        docker = [*_ends_with_this_process(), ServerKind.DOCKER, "run", "--rm"]
        docker += [f"--name={container}", "--init", "--read-only", "--cap-drop=ALL"]
        docker += [f"--user={os.getuid()}:{os.getgid()}"]
        docker += [f"--publish={host}:{port}:{_CONTAINER_PORT}", *_published(host, flags)]
        docker += [f"--volume={base_path}:{where}:ro", "--entrypoint=tensorflow_model_server"]
        model = [f"--model_name={name}", f"--model_base_path={where}"]
        return [*docker, DOCKER_IMAGE, f"--port={_CONTAINER_PORT}", *model, *flags]
    model = [f"--port={port}", f"--model_name={name}", f"--model_base_path={base_path}", *flags]
    if kind == ServerKind.TENSORFLOW_MODEL_SERVER:
        binary = shutil.which(ServerKind.TENSORFLOW_MODEL_SERVER)
        if binary is None:
            raise ServerStartError(f"{ServerKind.TENSORFLOW_MODEL_SERVER} is not on PATH.")
        return [*_ends_with_this_process(), binary, *model]
    embedded = [sys.executable, "-m", "serving.server", "--stop_when_stdin_closes"]
    return [*embedded, f"--host={host}", *model]


def _published(host: str, flags: Sequence[str]) -> list[str]:
    """The options of Docker that publish the ports in `flags`.

    Raises:
      ServerStartError: a flag names a file, which a container cannot read.
    """
    options = []
    for flag in flags:
        name, _, value = flag.partition("=")
        if name == "--rest_api_port":
            options.append(f"--publish={host}:{value}:{value}")
        elif name.endswith("_file"):
            raise ServerStartError(
                f"{flag}: the file is not in the container; use --server embedded, or the files "
                "in serving/deploy."
            )
    return options


def _docker(*arguments: str) -> bool:
    """Whether a Docker command succeeded; False if the engine does not answer."""
    try:
        done = subprocess.run(
            ["docker", *arguments],  # noqa: S607 - the one on the user's PATH
            capture_output=True,
            check=False,
            timeout=_DOCKER_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
