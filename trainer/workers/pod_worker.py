"""The program of a pod that trains; `pods.py` starts the pods.

    python -m trainer.workers.pod_worker

It runs one process of the training, and ends it when the first process, which is in the Trainer's
pod, has ended. The environment variable VARIABLE contains the training as JSON (`Training`);
Kubernetes sets JOB_COMPLETION_INDEX to the number of the pod, from 0. A process that fails leaves
its exit code and its reason, as JSON (`Ending`), in the pod's termination message.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import time
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from trainer.training import Job
from trainer.workers import processes, worker
from trainer.workers.failures import LOST
from trainer.workers.processes import Process

VARIABLE: Final = "TRAINER_POD_TRAINING"
INDEX: Final = "JOB_COMPLETION_INDEX"
TERMINATION_MESSAGE: Final = Path("/dev/termination-log")  # Kubernetes' default

_LOOK_INTERVAL_S: Final = 5.0
_MISSES: Final = 3  # that many looks in a row without an answer: the first process has ended
_CONNECT_TIMEOUT_S: Final = 3.0
START_TIMEOUT_S: Final = 1200.0  # the Trainer waits up to 900 s for the other pods


class Training(BaseModel):
    """What each pod is told."""

    job: Job
    addresses: tuple[str, ...]
    """HOST:PORT of every process, in their order."""


class Ending(BaseModel):
    """How the process of a pod ended."""

    code: int
    """As `Process.poll` returns it."""

    error: str


def main() -> int:
    """Trains until the first process ends; returns the exit code.

    It is 1 also if all went well: then Kubernetes deletes the pod, and nobody reads the code.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    training = Training.model_validate_json(os.environ[VARIABLE])
    index = int(os.environ[INDEX]) + 1
    variables = {"TF_CONFIG": worker.tf_config(training.addresses, index)}
    with Process(variables, training.job) as own:
        first = _FirstProcess(training.addresses[0])
        while (code := own.poll()) is None and not (reason := first.problem()):
            time.sleep(processes.INTERVAL_S)
        if code is None:
            ending = Ending(code=1, error=reason)
        else:
            own.failure("the process")  # writes its last lines to the log
            ending = Ending(code=code, error=own.error)
    TERMINATION_MESSAGE.write_text(ending.model_dump_json())
    return 1


class _FirstProcess:
    """Checks whether the first process still listens."""

    def __init__(self, address: str):
        host, _, port = address.rpartition(":")
        self._address = (host.strip("[]"), int(port))
        self._next_look_s = 0.0
        self._end_s = time.monotonic() + START_TIMEOUT_S
        self._has_answered = False
        self._misses = 0

    def problem(self) -> str:
        """Why to stop: it has ended, or has not started in time; empty if neither."""
        now_s = time.monotonic()
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + _LOOK_INTERVAL_S
            is_listening = False
            with (
                contextlib.suppress(OSError),
                socket.create_connection(self._address, _CONNECT_TIMEOUT_S),
            ):
                is_listening = True
            self._has_answered |= is_listening
            self._misses = 0 if is_listening else self._misses + 1
        host, port = self._address
        if self._has_answered and self._misses >= _MISSES:
            return f"{LOST}: the first process at {host}:{port} no longer answers"
        if not self._has_answered and now_s > self._end_s:
            return (
                f"{LOST}: the first process at {host}:{port} did not answer within "
                f"{START_TIMEOUT_S:.0f} s; does the network policy allow the connection?"
            )
        return ""


if __name__ == "__main__":
    sys.exit(main())
