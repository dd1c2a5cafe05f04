"""One of the processes that train together.

    python -m trainer.worker < JOB

The job is a line of JSON (`training.Job`). The environment variable TF_CONFIG names the processes
and this one among them, as TensorFlow's documentation of MultiWorkerMirroredStrategy has it. The
first process writes a line of JSON for each log record: the message, and the event if it has one.
The process ends when its standard input is closed.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading

import tensorflow as tf

from trainer import distribution, training


class JsonLines(logging.Handler):
    """Writes each record to the standard output."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line."""
        line = {"message": record.getMessage(), "event": getattr(record, "event", None)}
        print(json.dumps(line), flush=True)


def main() -> None:
    """Trains; the first process exports the model."""
    job = training.Job.model_validate_json(sys.stdin.readline())
    end = threading.Thread(target=_end_with_parent, daemon=True)
    end.start()
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    if distribution.is_first(strategy):
        log = logging.getLogger(training.__name__)
        log.setLevel(logging.INFO)
        log.addHandler(JsonLines())
    training.train(job, strategy)
    if not distribution.is_first(strategy):
        end.join()  # the first process exports the model, and would miss this one


def _end_with_parent() -> None:
    sys.stdin.read()  # until the other end is closed
    os._exit(1)


if __name__ == "__main__":
    main()
