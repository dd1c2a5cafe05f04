"""Starts and stops a model server on a folder of versions.

`tensorflow_model_server` where it is on PATH, else the embedded server. Imports nothing
heavy: the server is a process of its own.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from serving.errors import ServerStartError

TENSORFLOW_MODEL_SERVER: Final = "tensorflow_model_server"
STOP_TIMEOUT_S: Final = 15.0


@dataclass(frozen=True)
class RunningServer:
    """A model server that was started here."""

    address: str
    kind: str
    """TENSORFLOW_MODEL_SERVER or "embedded"."""

    log: Path
    process: subprocess.Popen[bytes]

    def check(self) -> None:
        """Raises ServerStartError where the process has ended."""
        if self.process.poll() is not None:
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise ServerStartError(
                f"the model server ended with exit code {self.process.returncode}: "
                f"{lines[-1] if lines else 'it said nothing'} (log: {self.log})"
            )


@contextmanager
def running(
    name: str, base_path: Path, log: Path, host: str = "127.0.0.1", port: int | None = None
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

    Raises:
      ServerStartError: another program has the port. Without this check, a server that is
        there already would be taken for the one that failed to start.
    """
    if port is None:
        port = free_port(host)
    elif not _is_free(host, port):
        raise ServerStartError(f"{host}:{port} is in use by another program: take another --port.")
    command, kind = _command(name, base_path, host, port)
    with log.open("wb") as log_file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log_file, stderr=subprocess.STDOUT
        )
    try:
        yield RunningServer(f"{host}:{port}", kind, log, process)
    finally:
        stop(process)


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


def _command(name: str, base_path: Path, host: str, port: int) -> tuple[list[str], str]:
    flags = [f"--port={port}", f"--model_name={name}", f"--model_base_path={base_path.resolve()}"]
    binary = shutil.which(TENSORFLOW_MODEL_SERVER)
    if binary:
        return [binary, *flags], TENSORFLOW_MODEL_SERVER
    return [sys.executable, "-m", "serving.server", f"--host={host}", *flags], "embedded"
