"""What a user of the cluster has: `mnist-tfx` and `kubectl`."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cluster.__main__ import KUBECONFIG, STATE
from cluster.programs import PROGRAMS_FOLDER

KUBECTL: Final = (str(PROGRAMS_FOLDER / "kubectl"), f"--kubeconfig={KUBECONFIG}", "-n", "kubeflow")
CLUSTER_FILE: Final = Path(__file__).parent / "cluster.toml"
RUN_TIMEOUT_S: Final = 1800
VOLUME: Final = STATE / "volumes" / "pipeline"
MODELS: Final = VOLUME / "serving_model" / "mnist"
NODE_NAME: Final = "workflows.argoproj.io/node-name"  # Argo's annotation of a pod


def states(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """The state of each node in the output of a followed run."""
    return dict(re.findall(r"^[✓✗] (\w+) +(\w+) +[\d.]+ s$", done.stdout, re.MULTILINE))


def kubectl(*arguments: str) -> str:
    """The standard output of kubectl."""
    done = subprocess.run([*KUBECTL, *arguments], check=True, capture_output=True, text=True)
    return done.stdout


@contextmanager
def forwarded(target: str, port: int) -> Iterator[int]:
    """`kubectl port-forward`; yields the port of the loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        own = int(free.getsockname()[1])
    process = subprocess.Popen(
        [
            *(*KUBECTL, "port-forward", target, f"{own}:{port}"),
        ],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline()  # it listens
        yield own
    finally:
        process.terminate()
        process.wait()


class Kubeflow:
    """`mnist-tfx` with the cluster."""

    def __init__(self, port: int, config: Path, environment: dict[str, str]):
        self.host = f"http://127.0.0.1:{port}"
        self._config = config
        self._environment = environment

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command(*arguments),
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT_S,
        )

    def with_config(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.call(*arguments, *self._configured)

    def submit(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.with_config("submit", *arguments)

    def _command(self, *arguments: str) -> list[str]:
        fixed = ["--cluster", str(CLUSTER_FILE), "--set", f"kubeflow.server.host={self.host}"]
        return [str(Path(sys.executable).with_name("mnist-tfx")), *arguments, *fixed]

    @property
    def _configured(self) -> list[str]:
        return ["--config", str(self._config), "--set", "name=mnist"]

    def wait_for(self, line: str, *arguments: str) -> str:
        """Submits a run that does not end, until a line is printed; then stops it. The line."""
        process = subprocess.Popen(
            self._command("submit", "--wait", *self._configured, *arguments),
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        timer = threading.Timer(RUN_TIMEOUT_S, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            found = next((text for text in process.stdout if text.startswith(line)), "")
        finally:
            timer.cancel()
            process.terminate()
            process.wait()
            kubectl("delete", "workflow", "--all")
        return found.strip()
