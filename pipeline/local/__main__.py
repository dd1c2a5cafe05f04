"""Starts the process that runs the pipeline; see `worker.py`."""

from __future__ import annotations

from collections.abc import Callable

from serving import program


def load() -> Callable[[], None]:
    """Imports the worker: TFX and TensorFlow, seconds."""
    from pipeline.local import worker

    return worker.main


if __name__ == "__main__":
    program.run(load)
