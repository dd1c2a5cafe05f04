"""The course of the training, from TensorBoard's logs."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Final

import tensorflow as tf
from tensorboard.backend.event_processing import plugin_event_multiplexer

from trainer import training_cost
from trainer.training_cost import TrainingCost

# The tags that Keras' TensorBoard callback writes, and the metrics that they stand for.
_TAGS: Final = {
    "train": {"batch_loss": "loss", "batch_accuracy": "accuracy"},
    "validation": {"epoch_loss": "loss", "epoch_accuracy": "accuracy"},
}


@dataclass(frozen=True)
class TrainingFacts:
    """Points of (step, value), by metric: `loss` and `accuracy`."""

    train: dict[str, list[tuple[int, float]]]
    """The running mean since the start of the epoch, with dropout."""

    held_out: dict[str, list[tuple[int, float]]]
    """At the end of each epoch, without dropout; the step is that of the epoch's end."""

    cost: TrainingCost | None
    """None if the Trainer left no record of it."""


def gather(model_run: str) -> TrainingFacts:
    """Reads the logs of one training.

    Args:
      model_run: the folder with the logs.
    """
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(model_run)
    multiplexer.Reload()
    found: dict[str, dict[str, list[tuple[int, float]]]] = {"train": {}, "validation": {}}
    for run, tags in _TAGS.items():
        if run not in multiplexer.Runs():
            continue
        for tag, name in tags.items():
            if tag in multiplexer.Runs()[run]["tensors"]:
                found[run][name] = [
                    (event.step, float(tf.make_ndarray(event.tensor_proto)))
                    for event in multiplexer.Tensors(run, tag)
                ]
    cost = _cost(model_run)
    written = (step for points in found["train"].values() for step, _ in points)
    last_step = cost.steps if cost else max(written, default=0)
    epochs = max((len(points) for points in found["validation"].values()), default=1)
    held_out = {
        name: [
            ((epoch + 1) * last_step // epochs, value) for epoch, (_, value) in enumerate(points)
        ]
        for name, points in found["validation"].items()
    }
    return TrainingFacts(found["train"], held_out, cost)


def _cost(model_run: str) -> TrainingCost | None:
    path = posixpath.join(model_run, training_cost.FILE)
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path) as file:
        return TrainingCost.from_json(file.read())
