"""Starts a node in the container of a Kubeflow task; see `node.py`."""

from __future__ import annotations

from collections.abc import Callable

from serving import program


def load() -> Callable[[], int]:
    """Imports the node: TFX and TensorFlow, seconds."""
    from pipeline.kubeflow import node

    return node.main


if __name__ == "__main__":
    program.run(load)
