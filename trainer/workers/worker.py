"""One of the processes that train together.

    python -m trainer.workers.worker < JOB

The job is a line of JSON (`training.Job`). The environment variable TF_CONFIG names the processes
and this one among them, as MultiWorkerMirroredStrategy requires. The first process writes a line of
JSON to its standard output for each log record: `message`, and `event` or null. A process that
fails writes a line with `error`. Linux kills a process when the one that started it ends.
"""

from __future__ import annotations

import ctypes
import json
import logging
import signal
import sys
from collections.abc import Sequence
from typing import Final

import tensorflow as tf

from trainer import distribution, training

_REASON_CHARS: Final = 1_000  # Kubernetes keeps 4,096 bytes of a termination message
_OF_THE_PLACE: Final = ("Graph execution error:", "Detected at node", 'File "', "<stack traces")
_PR_SET_PDEATHSIG: Final = 1  # of prctl(2)


def tf_config(addresses: Sequence[str], index: int) -> str:
    """The value of TF_CONFIG for the process at `index` of HOST:PORT `addresses`."""
    task = {"type": "worker", "index": index}
    return json.dumps({"cluster": {"worker": list(addresses)}, "task": task})


class RecordLines(logging.Handler):
    """Writes each log record to the standard output."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line."""
        _write({"message": record.getMessage(), "event": getattr(record, "event", None)})


def main() -> None:
    """Trains; the first process exports the model."""
    # A thread could not do this: TensorFlow holds Python's lock while it waits for the others.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    job = training.Job.model_validate_json(sys.stdin.readline())  # fails if the parent has ended
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        if distribution.is_first(strategy):
            log = logging.getLogger(training.__name__)
            log.setLevel(logging.INFO)
            log.addHandler(RecordLines())
        training.train(job, strategy)
    except Exception as error:
        _write({"error": f"{type(error).__name__}: {reason_of(error)[:_REASON_CHARS]}"})
        raise
    if not distribution.is_first(strategy):
        sys.stdin.read()  # if this process ended now, the first would see it as crashed


def reason_of(error: Exception) -> str:
    """The first line of an error that says what is wrong; TensorFlow begins with the place."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line and not line.startswith(_OF_THE_PLACE)), "")


def _write(line: dict[str, object]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
