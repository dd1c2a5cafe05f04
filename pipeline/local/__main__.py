"""Starts the process that runs the pipeline; see `worker.py`."""

from __future__ import annotations

from serving import program


def main() -> None:
    """Runs the worker."""
    from pipeline.local import worker  # TFX and TensorFlow: seconds

    program.start_collecting()
    worker.main()


if __name__ == "__main__":
    program.run(main)
