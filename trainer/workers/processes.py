"""Training in several processes on this machine: starts them, and watches them."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

from trainer import training
from trainer.training import Job
from trainer.workers import failures, worker
from trainer.workers.failures import Failure, WorkerError

INTERVAL_S: Final = 0.1
_STOP_TIMEOUT_S: Final = 10.0
_HOST: Final = "127.0.0.1"
_KEPT_LINES: Final = 100

_log = logging.getLogger(training.__name__)  # the runner reads the events of this logger


def train(job: Job) -> None:
    """Trains in `job.hparams.workers` processes; see `training.train`.

    The first process writes the results, and its log records appear in this process' log.

    Raises:
      WorkerError: a process failed or was killed. The others are stopped.
    """
    count = job.hparams.workers
    addresses = [f"{_HOST}:{port}" for port in _free_ports(count)]
    # Each process would reserve all GPUs. A proxy would be asked for this machine's own address.
    environment = {"CUDA_VISIBLE_DEVICES": "-1", "no_grpc_proxy": _HOST}
    with contextlib.ExitStack() as stack:
        started = []
        for index in range(count):
            variables = {**environment, "TF_CONFIG": worker.tf_config(addresses, index)}
            started.append(stack.enter_context(Process(variables, job)))
        while not (ended := [one for one in started if one.poll() is not None]):
            time.sleep(INTERVAL_S)
        if started[0].poll() == 0:
            return
        names = {one: failures.process_name(index, count) for index, one in enumerate(started)}
        cause = failures.root_cause([one.failure(names[one]) for one in ended])
        raise WorkerError(cause.sentence)


class Process:
    """A process that trains, as a context; it is stopped at the end.

    (The trainer imports nothing of this project, so `serving.child_process` is not available.)

    Args:
      variables: its environment variables in addition to those of this process, such as TF_CONFIG.
      job: the training.
    """

    def __init__(self, variables: Mapping[str, str], job: Job):
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self.error = ""
        """The reason that the process gave for its failure."""

        self._process = subprocess.Popen(
            [sys.executable, "-m", worker.__name__],
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._pipes = (self._process.stdin, self._process.stdout, self._process.stderr)
        self._readers = [
            threading.Thread(target=read, args=(pipe,), daemon=True)
            for read, pipe in ((self._relay, self._pipes[1]), (self._keep, self._pipes[2]))
        ]
        for reader in self._readers:
            reader.start()
        with contextlib.suppress(BrokenPipeError):  # it has ended, which `train` notices
            self._pipes[0].write(job.model_dump_json() + "\n")
            self._pipes[0].flush()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._join()
        for pipe in self._pipes:
            with contextlib.suppress(BrokenPipeError):  # the job may still be in the buffer
                pipe.close()

    def poll(self) -> int | None:
        """The exit code, or the negative number of the signal that ended it; None if it runs."""
        return self._process.poll()

    def failure(self, name: str) -> Failure:
        """How the process `name` ended early; what it wrote last goes to the log."""
        self._join()
        for line in self._lines:
            _log.error("%s: %s", name, line)
        return failures.describe(name, self._process.returncode, self.error)

    def _join(self) -> None:
        for reader in self._readers:
            reader.join()

    def _relay(self, lines: Iterable[str]) -> None:
        for line in lines:
            record = None
            with contextlib.suppress(ValueError):
                record = json.loads(line)
            match record:
                case {"error": str(error)}:
                    self.error = error
                case {"message": str(message), "event": event}:
                    _log.info("%s", message, extra={"event": event} if event else None)
                case _:  # a library wrote it
                    self._lines.append(line.rstrip())

    def _keep(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._lines.append(line.rstrip())


def _free_ports(count: int) -> list[int]:
    """Different ports that no program uses at this moment."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_server((_HOST, 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in held]
