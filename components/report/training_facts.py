"""The course of the training, from TensorBoard's logs."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Final

import tensorflow as tf
from tensorboard.backend.event_processing import plugin_event_multiplexer

from trainer import training_cost
from trainer.training_cost import TrainingCost

METRICS: Final = ("loss", "accuracy", "learning_rate")
_FOLDERS: Final = ("train", "validation")

Points = list[tuple[int, float]]
"""Steps and values."""


@dataclass(frozen=True)
class TrainingFacts:
    """The curves that the Trainer wrote (trainer/curves.py), by metric."""

    train: dict[str, Points]
    """The mean since the point before, with dropout."""

    held_out: dict[str, Points]
    """On held-out images, without dropout."""

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
    train, held_out = (
        {
            metric: _points(multiplexer, folder, metric)
            for metric in METRICS
            if metric in multiplexer.Runs().get(folder, {}).get("tensors", ())
        }
        for folder in _FOLDERS
    )
    return TrainingFacts(train, held_out, _cost(model_run))


def _points(
    multiplexer: plugin_event_multiplexer.EventMultiplexer, folder: str, tag: str
) -> Points:
    return [
        (event.step, float(tf.make_ndarray(event.tensor_proto)))
        for event in multiplexer.Tensors(folder, tag)
    ]


def _cost(model_run: str) -> TrainingCost | None:
    path = posixpath.join(model_run, training_cost.FILE)
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path) as file:
        return TrainingCost.from_json(file.read())
