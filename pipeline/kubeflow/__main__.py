"""Starts a node in the container of a Kubeflow task; see `node.py`."""

from __future__ import annotations

from serving import program


def main() -> int:
    """Runs the node; returns the exit code."""
    from pipeline.kubeflow import node  # TFX and TensorFlow: seconds

    program.start_collecting()
    return node.main()


if __name__ == "__main__":
    program.run(main)
