"""A process of a training that has a pod of its own; `pods.py` starts the pods.

    python -m trainer.workers.pod_worker

The environment variable TRAINING contains the training as JSON (`Training`). Kubernetes sets
JOB_COMPLETION_INDEX to the number of the pod, from 0. The first process of the training is not
among them. A process that fails writes a line of JSON with `error` at the end of its log.
"""

from __future__ import annotations

import os
import signal
from typing import Final

from pydantic import BaseModel

from trainer.training import Job
from trainer.workers import worker

TRAINING: Final = "TRAINING"
_INDEX: Final = "JOB_COMPLETION_INDEX"


class Training(BaseModel):
    """What each process is told."""

    job: Job
    addresses: tuple[str, ...]
    """HOST:PORT of every process, in their order."""


def main() -> None:
    """Trains, and waits until Kubernetes ends the pod."""
    training = Training.model_validate_json(os.environ[TRAINING])
    os.environ["TF_CONFIG"] = worker.tf_config(training.addresses, int(os.environ[_INDEX]) + 1)
    worker.run(training.job)
    signal.pause()  # if this process ended now, the first would see it as crashed


if __name__ == "__main__":
    main()
