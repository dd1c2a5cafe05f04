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
from typing import Final

from trainer import training, worker
from trainer.training import Job

_INTERVAL_S: Final = 0.1
_STOP_TIMEOUT_S: Final = 10.0

_log = logging.getLogger(training.__name__)


class WorkerError(RuntimeError):
    """A process that trained ended early; the message is one sentence."""


def train(job: Job) -> None:
    """Trains in `job.hparams.workers` processes; see `training.train`.

    The first process writes the results, and its log records appear in this process' log.

    Raises:
      WorkerError: a process failed or was killed. The others are stopped.
    """
    count = job.hparams.workers
    addresses = [f"127.0.0.1:{port}" for port in _free_ports(count)]
    with contextlib.ExitStack() as stack:
        started = []
        for index in range(count):
            place = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            started.append(stack.enter_context(_Worker(json.dumps(place), job)))
        first, *others = started
        while first.process.poll() is None and all(o.process.poll() is None for o in others):
            time.sleep(_INTERVAL_S)
        if first.process.poll() == 0:
            return
        ended = [one for one in started if one.process.poll() is not None]
        # If one is killed, others fail because of it.
        cause = min(ended, key=lambda one: one.process.returncode)
        raise WorkerError(cause.failure(started.index(cause) + 1, count))


class _Worker:
    """A process that trains, as a context; it is stopped at the end."""

    def __init__(self, place: str, job: Job):
        self._lines: deque[str] = deque(maxlen=1)
        self.process = subprocess.Popen(
            [sys.executable, "-m", worker.__name__],
            env={**os.environ, "TF_CONFIG": place},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which `train` notices
            self.process.stdin.write(job.model_dump_json() + "\n")
            self.process.stdin.flush()

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()

    def failure(self, number: int, count: int) -> str:
        """How the process ended, in one sentence."""
        code = self.process.returncode
        if code < 0:
            return f"process {number} of {count} of the training was killed by signal {-code}."
        self._reader.join()
        reason = self._lines[-1] if self._lines else "it wrote no reason"
        return f"process {number} of {count} of the training failed: {reason}"

    def _read(self) -> None:
        """Reads what the process writes: log records as JSON, and what TensorFlow writes."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with contextlib.suppress(ValueError, TypeError, KeyError):
                record = json.loads(line)
                extra = {"event": record["event"]} if record["event"] else None
                _log.info("%s", record["message"], extra=extra)
                continue
            self._lines.append(line.strip())
            _log.debug("%s", line.rstrip())


def _free_ports(count: int) -> list[int]:
    """Different ports that no program uses at this moment."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in held]
