"""The curves of a training, as scalars for TensorBoard and for the report."""

from __future__ import annotations

import posixpath
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from trainer.dataset import Split

LOSS: Final = "loss"
ACCURACY: Final = "accuracy"
LEARNING_RATE: Final = "learning_rate"
TRAIN: Final = "train"  # folders of the logs, as those of Keras' TensorBoard callback
VALIDATION: Final = "validation"

_WINDOWS: Final = 60  # the fewest points of the curve of a long training
_HELD_OUT_POINTS: Final = 10  # of the held-out curve, besides the end of each epoch
_SAMPLE: Final = 256  # held-out images; a whole split would take seconds at each point


def interval(steps: int) -> int:
    """The number of steps between two points of the training curve."""
    return max(1, steps // _WINDOWS)


def evaluate(network: keras.Model, split: Split) -> dict[str, float]:
    """LOSS, with label smoothing as in the training, and ACCURACY; without dropout."""
    # Keras' own `evaluate` resets the metrics of the training, and starts collective operations
    # where several processes train.
    parts = [split.images[i : i + _SAMPLE] for i in range(0, len(split.images), _SAMPLE)]
    probabilities = np.concatenate([network(part, training=False) for part in parts])
    loss = network.compute_loss(y=split.labels, y_pred=probabilities, training=False)
    accuracy = (probabilities.argmax(axis=1) == split.labels).mean()
    return {LOSS: float(loss), ACCURACY: float(accuracy)}


class Curves(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes LOSS and ACCURACY of the last steps and of held-out images, and LEARNING_RATE.

    Keras reports the mean since the start of an epoch, which hides what happens late in it. Here a
    point is the mean of the steps since the point before, with dropout. Held-out images are
    evaluated without dropout: a sample of them during an epoch, all at its end.

    Args:
      folder: the folder of the logs.
      steps: the number of steps of the training.
      held_out: the held-out images.
    """

    def __init__(self, folder: str, steps: int, held_out: Split):
        super().__init__()
        self._every = interval(steps)
        self._evaluate_every = max(1, steps // _HELD_OUT_POINTS)
        self._sample = Split(held_out.images[:_SAMPLE], held_out.labels[:_SAMPLE])
        self._writers = {
            name: tf.summary.create_file_writer(posixpath.join(folder, name))
            for name in (TRAIN, VALIDATION)
        }
        self._step = self._epoch_start = 0
        self._before: dict[str, float] = {}  # sums over the steps of the epoch, up to a point
        self._count = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keras' means begin again."""
        self._epoch_start = self._step
        self._before, self._count = dict.fromkeys((LOSS, ACCURACY), 0.0), 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes a point if one is due."""
        self._step += 1
        if self._step % self._every == 0:
            self._write_window(logs or {})
        if self._step % self._evaluate_every == 0:
            self._write(VALIDATION, evaluate(self.model, self._sample))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the result on all held-out images."""
        values = {name: (logs or {}).get(f"val_{name}") for name in (LOSS, ACCURACY)}
        self._write(VALIDATION, {name: v for name, v in values.items() if v is not None})

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Closes the files."""
        for writer in self._writers.values():
            writer.close()

    def _write_window(self, logs: dict[str, Any]) -> None:
        count = self._step - self._epoch_start
        sums = {name: count * float(logs[name]) for name in (LOSS, ACCURACY)}
        window = {n: (sums[n] - self._before[n]) / (count - self._count) for n in sums}
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        self._write(TRAIN, {**window, LEARNING_RATE: rate})
        self._before, self._count = sums, count

    def _write(self, name: str, values: dict[str, float]) -> None:
        with self._writers[name].as_default(self._step):
            for tag, value in values.items():
                tf.summary.scalar(tag, value)
