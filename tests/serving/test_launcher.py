"""The choice of the server, and its end."""

import os
import shutil
import socket
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from doubles import processes

from serving import addresses, child_process, launcher
from serving.errors import ServerStartError


def test_tensorflow_model_server_is_preferred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in on PATH prints the arguments that TF Serving's binary would get."""
    binary = tmp_path / "bin" / "tensorflow_model_server"
    binary.parent.mkdir()
    binary.write_text('#!/bin/sh\necho "$@"\n')
    binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{binary.parent}{os.pathsep}{os.environ['PATH']}")
    log = tmp_path / "log.txt"
    port = addresses.free_port()
    with launcher.running("mnist", tmp_path / "models", log, port=port) as server:
        server.process.wait(timeout=120)
        assert server.kind == "tensorflow_model_server"
        with pytest.raises(ServerStartError, match="exit code 0"):
            server.check()
    assert log.read_text().split() == [
        f"--port={port}",
        "--model_name=mnist",
        f"--model_base_path={tmp_path / 'models'}",
    ]


def test_a_port_in_use_is_rejected_and_nothing_starts(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with (
            pytest.raises(ServerStartError, match=f"127.0.0.1:{port} is in use by another"),
            launcher.running("mnist", tmp_path, log, port=port),
        ):
            pass
    assert not log.exists()


def test_a_host_that_is_no_address_of_the_machine_is_named(tmp_path: Path) -> None:
    message = r"--host 192\.0\.2\.1 is not an address of this machine \(Cannot assign"
    for port in (None, 8500):
        with (
            pytest.raises(ServerStartError, match=message),
            launcher.running("mnist", tmp_path, tmp_path / "log.txt", "192.0.2.1", port),
        ):
            pass


def test_it_is_stopped_at_the_end_of_the_block(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="something else"),
        launcher.running("mnist", tmp_path, tmp_path / "log.txt") as server,
    ):
        assert server.kind == "embedded"
        assert server.process.poll() is None
        raise RuntimeError("something else")
    assert server.process.poll() is not None


@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv of util-linux")
def test_a_server_does_not_outlive_a_killed_process(tmp_path: Path) -> None:
    """TF Serving's binary is replaced by one that runs until it gets a signal."""
    binary = tmp_path / "bin" / "tensorflow_model_server"
    binary.parent.mkdir()
    binary.write_text('#!/bin/sh\necho $$ > "$PID_FILE"\nexec sleep 1000\n')
    binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
    pid_file = tmp_path / "pid"
    program = (
        "import pathlib, time; from serving import launcher\n"
        f"with launcher.running('m', pathlib.Path({str(tmp_path)!r}), "
        f"pathlib.Path({str(tmp_path / 'log.txt')!r})): time.sleep(1000)"
    )
    environment = {"PATH": f"{binary.parent}{os.pathsep}{os.environ['PATH']}"}
    environment["PID_FILE"] = str(pid_file)
    with child_process.running(
        [sys.executable, "-c", program], env={**os.environ, **environment}
    ) as parent:
        _wait_until(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"))
        server = int(pid_file.read_text())
        assert processes.is_running(server)
        parent.kill()
        parent.wait(timeout=60)
        _wait_until(lambda: not processes.is_running(server))


def test_values_are_joined_to_the_names_of_flags() -> None:
    flags = ["--rest_api_port", "8501", "--enable_batching", "--model_name=a", "--x", "1"]
    assert launcher.joined(flags) == [
        "--rest_api_port=8501",
        "--enable_batching",
        "--model_name=a",
        "--x=1",
    ]


def _wait_until(is_true: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
