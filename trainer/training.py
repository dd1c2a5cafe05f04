"""The training: reads and transforms the splits, trains the network, writes all results."""

from __future__ import annotations

import contextlib
import logging
import math
import posixpath
import time
from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft
from pydantic import BaseModel, ConfigDict

from trainer import dataset, distribution, model, precision, signatures, training_cost
from trainer.curves import Curves
from trainer.hparams import HyperParameters
from trainer.training_cost import TrainingCost

TRAINING = "training"

_log = logging.getLogger(__name__)


class Job(BaseModel):
    """One training. The files and folders can be in a bucket."""

    model_config = ConfigDict(frozen=True)

    hparams: HyperParameters
    train_files: tuple[str, ...]
    """Patterns of the TFRecord files of the train split."""

    eval_files: tuple[str, ...]
    transform_output: str
    """The folder of the transform graph."""

    serving_model_dir: str
    """Where the SavedModel is written."""

    model_run_dir: str
    """Where TensorBoard's logs, the layer table and `training_cost.FILE` are written."""


def train(job: Job, strategy: tf.distribute.Strategy | None = None) -> None:
    """Trains the network and exports it.

    Progress is logged to this module's logger. For programs, the log record has an attribute
    `event`: a dict whose `kind` is TRAINING, with `step`, `steps`, `epoch`, `epochs`, `loss`,
    `accuracy` and `images_per_s`.

    Args:
      job: what to train on, and where to write.
      strategy: the devices and processes that train together; None for this process alone. Each
        process calls this function; the first one writes the results.

    Raises:
      ValueError: a split is empty, or cannot be divided among the devices.
    """
    hparams = job.hparams
    transform = tft.TFTransformOutput(job.transform_output)
    split = dataset.load(job.train_files, transform)
    if hparams.train_images != "all":
        split = split.sample(hparams.train_images, hparams.seed)
    is_first = strategy is None or distribution.is_first(strategy)
    held_out = dataset.load(job.eval_files, transform) if is_first else None
    if strategy:
        distribution.check(strategy, hparams.batch_size, len(split.images))
        steps_per_epoch = len(split.images) // hparams.batch_size
    else:
        steps_per_epoch = math.ceil(len(split.images) / hparams.batch_size)

    keras.utils.set_random_seed(hparams.seed)
    steps = steps_per_epoch * hparams.epochs
    with strategy.scope() if strategy else contextlib.nullcontext():
        network = model.build_model(hparams, steps)
    callbacks: list[keras.callbacks.Callback] = []
    if held_out:
        table = model.layer_table(network)
        _log.info("%s", table)
        tf.io.gfile.makedirs(job.model_run_dir)
        _write(job.model_run_dir, "layers.txt", table + "\n")
        callbacks = [
            keras.callbacks.TensorBoard(job.model_run_dir),
            Curves(job.model_run_dir, steps, held_out),
            ProgressLog(hparams, steps_per_epoch),
        ]

    start_s = time.monotonic()
    if strategy:
        distribution.fit(strategy, network, split, held_out, hparams, callbacks)
    else:
        network.fit(
            dataset.training_batches(split, hparams.batch_size, hparams.seed, hparams.max_shift_px),
            epochs=hparams.epochs,
            validation_data=held_out and dataset.evaluation_batches(held_out),
            callbacks=callbacks,
            shuffle=False,  # the dataset is shuffled already
            verbose=0,
        )
    if not is_first:
        return
    seconds = time.monotonic() - start_s
    shown = min(steps * hparams.batch_size, hparams.epochs * len(split.images))
    computed_in = network.layers[0].compute_dtype
    cost = TrainingCost(
        seconds, steps, images=shown, images_per_s=shown / seconds, precision=computed_in
    )
    _write(job.model_run_dir, training_cost.FILE, cost.to_json())
    # The variables of a strategy cannot be exported by one process alone.
    if strategy or computed_in != precision.FLOAT32:
        weights = network.get_weights()
        network = model.build_model(hparams.changed({"precision": precision.FLOAT32}), steps)
        network.set_weights(weights)
    signatures.ServedModel(network, transform).export(job.serving_model_dir)


def _write(folder: str, name: str, text: str) -> None:
    with tf.io.gfile.GFile(posixpath.join(folder, name), "w") as file:
        file.write(text)


class ProgressLog(keras.callbacks.Callback):  # type: ignore[misc]
    """Logs the progress every two seconds and at the end of each epoch."""

    INTERVAL_S = 2.0

    def __init__(self, hparams: HyperParameters, steps_per_epoch: int):
        super().__init__()
        self._hparams = hparams
        self._steps_per_epoch = steps_per_epoch
        self._epoch = 0
        self._start_s = self._last_s = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts the clock of this epoch."""
        self._epoch = epoch
        self._start_s = self._last_s = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs the step if the interval has passed."""
        now_s = time.monotonic()
        if now_s - self._last_s < self.INTERVAL_S and batch + 1 < self._steps_per_epoch:
            return
        self._last_s = now_s
        logs = logs or {}
        progress = {
            "step": self._epoch * self._steps_per_epoch + batch + 1,
            "steps": self._hparams.epochs * self._steps_per_epoch,
            "epoch": self._epoch + 1,
            "epochs": self._hparams.epochs,
            "loss": float(logs.get("loss", math.nan)),
            "accuracy": float(logs.get("accuracy", math.nan)),
            "images_per_s": (batch + 1) * self._hparams.batch_size / (now_s - self._start_s),
        }
        _log.info(
            "step %(step)d of %(steps)d (epoch %(epoch)d of %(epochs)d): loss %(loss).4f, "
            "accuracy %(accuracy).4f, %(images_per_s).0f images/s",
            progress,
            extra={"event": {"kind": TRAINING, **progress}},
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs loss and accuracy on the held-out images."""
        logs = logs or {}
        _log.info(
            "epoch %d of %d: held-out loss %.4f, accuracy %.4f",
            epoch + 1,
            self._hparams.epochs,
            logs.get("val_loss", math.nan),
            logs.get("val_accuracy", math.nan),
        )
