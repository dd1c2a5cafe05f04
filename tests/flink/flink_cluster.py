"""Flink and Beam's job server as processes on the loopback: one JobManager, two TaskManagers."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import httpx
import yaml
from doubles import processes

import pipeline

Process: TypeAlias = subprocess.Popen[bytes]

FOLDER: Final = Path(__file__).parent
CACHE: Final = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mnist-tfx" / "flink"
)
TASK_MANAGERS: Final = 2
START_TIMEOUT_S: Final = 300
STOP_TIMEOUT_S: Final = 30

_CONFIG: Final = Path(pipeline.__file__).parent / "deploy" / "flink" / "config"
_FLINK: Final = "org.apache.flink.runtime"
_WORKER_HOST: Final = "worker-pool"
"""The name that each TaskManager has for its own worker pool."""


@dataclass
class TaskManager:
    """A TaskManager, and the pool of Python workers beside it."""

    process: Process
    pool: Process

    def kill(self) -> None:
        """Ends both at once, with all workers."""
        _stop(self.process, signal.SIGKILL)
        _stop(self.pool, signal.SIGKILL)


class FlinkCluster:
    """A running cluster.

    Args:
      folder: for the logs and the temporary files.
      jars: Flink and Beam's runner.
    """

    def __init__(self, folder: Path, jars: Path):
        self._folder = folder
        self._stack = contextlib.ExitStack()
        ports = processes.free_ports(6)
        self._rpc_port, self._rest_port, self._job_port, self._pool_port = ports[:4]
        self._artifact_port, self._expansion_port = ports[4:]
        self.task_managers: list[TaskManager] = []
        config = yaml.safe_load((_CONFIG / "config.yaml").read_text())
        self._java = ["java", *config["env"]["java"]["opts"]["all"].split(), "-cp", f"{jars}/*"]

    def __enter__(self) -> FlinkCluster:
        try:
            command = f"{_FLINK}.entrypoint.StandaloneSessionClusterEntrypoint"
            self._start("job-manager", [*self._java, command, *self._settings()])
            for _ in range(TASK_MANAGERS):
                self.add_task_manager()
            job_server = [
                "org.apache.beam.runners.flink.FlinkJobServerDriver",
                f"--flink-master=127.0.0.1:{self._rest_port}",
                f"--job-port={self._job_port}",
                f"--artifact-port={self._artifact_port}",
                f"--expansion-port={self._expansion_port}",
                f"--artifacts-dir={self._folder / 'staged'}",
            ]
            self._start("job-server", [*self._java, *job_server])
            self.wait_for_task_managers(TASK_MANAGERS)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def option(self) -> str:
        """The section `beam` for this cluster, as a value of `--set`."""
        values = {
            "runner": "flink",
            "flink_master": f"127.0.0.1:{self._rest_port}",
            "job_endpoint": f"127.0.0.1:{self._job_port}",
            "environment_type": "EXTERNAL",
            "environment_config": f"{_WORKER_HOST}:{self._pool_port}",
            "parallelism": TASK_MANAGERS,
        }
        return f"beam={{{', '.join(f'{key} = {value!r}' for key, value in values.items())}}}"

    def add_task_manager(self) -> None:
        """Starts one more TaskManager with its pool, at a loopback address of their own."""
        number = len(self.task_managers) + 1
        host = f"127.0.0.{number + 1}"
        hosts = self._folder / f"hosts-{number}"
        hosts.write_text(f"127.0.0.1 localhost\n{host} {_WORKER_HOST}\n")
        settings = self._settings(f"taskmanager.resource-id=task-manager-{number}")
        jvm, memory = self._memory_of_a_task_manager(settings)
        jvm.append(f"-Djdk.net.hosts.file={hosts}")
        command = [f"{_FLINK}.taskexecutor.TaskManagerRunner", *settings, *memory]
        process = self._start(f"task-manager-{number}", [*self._java, *jvm, *command])
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        modules = os.pathsep.join(map(str, FOLDER.parents[:2]))  # tests/, and the project
        pool = self._start(
            f"worker-pool-{number}",
            [sys.executable, "-m", "flink.worker_pool", f"{host}:{self._pool_port}"],
            env={**os.environ, "PATH": path, "PYTHONPATH": modules},
        )
        self.task_managers.append(TaskManager(process, pool))

    def wait_for_task_managers(self, count: int) -> None:
        """Waits until so many TaskManagers are registered."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if self._get("overview")["taskmanagers"] == count:
                    return
            assert time.monotonic() < deadline, f"not {count} TaskManagers; see {self._folder}"
            time.sleep(0.5)

    def jobs(self) -> list[dict[str, Any]]:
        """What Flink says of its jobs, oldest first: name, state, and tasks by their state."""
        found: list[dict[str, Any]] = self._get("jobs/overview")["jobs"]
        return sorted(found, key=lambda job: job["start-time"])

    def _get(self, path: str) -> dict[str, Any]:
        answer = httpx.get(f"http://127.0.0.1:{self._rest_port}/{path}", timeout=60)
        answer.raise_for_status()
        return answer.json()  # type: ignore[no-any-return]

    def _settings(self, *more: str) -> list[str]:
        """The configuration of the manifests, with addresses of this machine."""
        values = [
            *("jobmanager.rpc.address=127.0.0.1", "jobmanager.bind-host=127.0.0.1"),
            *("rest.address=127.0.0.1", "rest.bind-address=127.0.0.1"),
            *("taskmanager.host=127.0.0.1", "taskmanager.bind-host=127.0.0.1"),
            f"jobmanager.rpc.port={self._rpc_port}",
            f"rest.port={self._rest_port}",
            *("blob.server.port=0", "taskmanager.rpc.port=0", "taskmanager.data.port=0"),
            "metrics.internal.query-service.port=0",
            f"io.tmp.dirs={self._folder}",
            *more,
        ]
        return ["--configDir", str(_CONFIG), *(f"-D{value}" for value in values)]

    def _memory_of_a_task_manager(self, settings: list[str]) -> tuple[list[str], list[str]]:
        """The options of Java and of Flink, calculated as Flink's scripts do."""
        command = [f"{_FLINK}.util.bash.BashJavaUtils", "GET_TM_RESOURCE_PARAMS", *settings]
        done = subprocess.run([*self._java, *command], check=True, capture_output=True, text=True)
        jvm, memory = re.findall(r"^BASH_JAVA_UTILS_EXEC_RESULT:(.*)$", done.stdout, re.MULTILINE)
        return jvm.split(), memory.split()

    def _start(
        self, name: str, command: list[str], env: Mapping[str, str] | None = None
    ) -> Process:
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env=env, start_new_session=True
            )
        self._stack.callback(_stop, process, signal.SIGTERM)
        return process


def _stop(process: Process, number: signal.Signals) -> None:
    """Ends a process, and those that it started."""
    for each in (number, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, each)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)


def jars() -> Path:
    """The folder with the programs that pom.xml pins; Maven fetches them once."""
    digest = hashlib.sha256((FOLDER / "pom.xml").read_bytes()).hexdigest()[:16]
    folder = CACHE / digest
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as unfinished:
            subprocess.run(
                [
                    *("mvn", "--quiet", "--batch-mode", "--file", FOLDER / "pom.xml"),
                    *("dependency:copy-dependencies", f"-DoutputDirectory={unfinished}/jars"),
                ],
                check=True,
            )
            Path(unfinished, "jars").rename(folder)
    return folder
