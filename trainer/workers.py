"""Training in several processes on this machine: starts them, and watches them."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Final

from trainer import training, worker
from trainer.training import Job

_INTERVAL_S: Final = 0.1
_STOP_TIMEOUT_S: Final = 10.0
_HOST: Final = "127.0.0.1"
_KEPT_LINES: Final = 100

_log = logging.getLogger(training.__name__)  # the runner reads the events of this logger


class WorkerError(RuntimeError):
    """A process that trained ended early."""


def train(job: Job) -> None:
    """Trains in `job.hparams.workers` processes; see `training.train`.

    The first process writes the results, and its log records appear in this process' log.

    Raises:
      WorkerError: a process failed or was killed. The others are stopped.
    """
    count = job.hparams.workers
    addresses = [f"{_HOST}:{port}" for port in _free_ports(count)]
    with contextlib.ExitStack() as stack:
        started = []
        for index in range(count):
            place = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            started.append(stack.enter_context(_Worker(json.dumps(place), job)))
        while not (ended := [one for one in started if one.process.poll() is not None]):
            time.sleep(_INTERVAL_S)
        if started[0].process.returncode == 0:
            return
        # If one is killed, others fail because of it.
        cause = min(ended, key=lambda one: one.process.returncode)
        raise WorkerError(cause.failure(f"process {started.index(cause) + 1} of {count}"))


class _Worker:
    """A process that trains, as a context; it is stopped at the end.

    (The trainer imports nothing of this project, so `serving.child_process` is not available.)
    """

    def __init__(self, place: str, job: Job):
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._error = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", worker.__name__],
            # A proxy for gRPC would be asked for this machine's own address.
            env={**os.environ, "TF_CONFIG": place, "no_grpc_proxy": _HOST},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )
        assert self.process.stdin and self.process.stdout and self.process.stderr
        self._pipes = (self.process.stdin, self.process.stdout, self.process.stderr)
        self._readers = [
            threading.Thread(target=read, args=(pipe,), daemon=True)
            for read, pipe in ((self._relay, self._pipes[1]), (self._keep, self._pipes[2]))
        ]
        for reader in self._readers:
            reader.start()
        with contextlib.suppress(BrokenPipeError):  # it has ended, which `train` notices
            self._pipes[0].write(job.model_dump_json() + "\n")
            self._pipes[0].flush()

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._join()
        for pipe in self._pipes:
            with contextlib.suppress(BrokenPipeError):  # the job may still be in the buffer
                pipe.close()

    def failure(self, name: str) -> str:
        """How the process ended, in one sentence; what it wrote last goes to the log."""
        self._join()
        for line in self._lines:
            _log.error("%s: %s", name, line)
        code = self.process.returncode
        if code == -signal.SIGKILL:
            return (
                f"{name} of the training was killed (signal 9). The usual cause is too little "
                'memory; trainer.distribution = "none" needs less.'
            )
        if code < 0:
            return f"{name} of the training was ended by signal {-code}."
        return f"{name} of the training failed: {self._error or f'exit code {code}'}"

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
                    self._error = error
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
