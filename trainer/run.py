"""`run_fn`, the entry point of the Trainer component; the only module with TFX's arguments."""

from __future__ import annotations

import logging
import math
import posixpath
import time
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf
import tensorflow_transform as tft

from trainer import dataset, model, signatures, training_cost
from trainer.curves import Curves
from trainer.hparams import HyperParameters
from trainer.training_cost import TrainingCost

if TYPE_CHECKING:
    from tfx.components.trainer.fn_args_utils import FnArgs

HPARAMS = "hparams"  # the key of the recipe, as JSON, in the component's custom_config
TRAINING = "training"

_log = logging.getLogger(__name__)


def run_fn(fn_args: FnArgs) -> None:
    """Trains the network and exports it.

    Reads the transformed splits. Writes the SavedModel to `serving_model_dir`; TensorBoard's
    logs, the layer table and `training_cost.FILE` to `model_run_dir`.

    Progress is logged to this module's logger. For programs, the log record has an attribute
    `event`: a dict whose `kind` is TRAINING, with `step`, `steps`, `epoch`, `epochs`, `loss`,
    `accuracy` and `images_per_s`.
    """
    hparams = HyperParameters.model_validate_json(fn_args.custom_config[HPARAMS])
    transform = tft.TFTransformOutput(fn_args.transform_output)
    train = dataset.load(fn_args.train_files, transform)
    if hparams.train_images != "all":
        train = train.sample(hparams.train_images, hparams.seed)
    held_out = dataset.load(fn_args.eval_files, transform)

    keras.utils.set_random_seed(hparams.seed)
    steps_per_epoch = math.ceil(len(train.images) / hparams.batch_size)
    steps = steps_per_epoch * hparams.epochs
    network = model.build_model(hparams, steps)
    table = model.layer_table(network)
    _log.info("%s", table)
    tf.io.gfile.makedirs(fn_args.model_run_dir)
    _write(fn_args.model_run_dir, "layers.txt", table + "\n")

    start_s = time.monotonic()
    network.fit(
        dataset.training_batches(train, hparams.batch_size, hparams.seed, hparams.max_shift_px),
        epochs=hparams.epochs,
        validation_data=dataset.evaluation_batches(held_out),
        callbacks=[
            keras.callbacks.TensorBoard(fn_args.model_run_dir),
            Curves(fn_args.model_run_dir, steps, held_out),
            ProgressLog(hparams, steps_per_epoch),
        ],
        shuffle=False,  # the dataset is shuffled already
        verbose=0,
    )
    seconds = time.monotonic() - start_s
    shown = hparams.epochs * len(train.images)
    cost = TrainingCost(seconds, steps, images=shown, images_per_s=shown / seconds)
    _write(fn_args.model_run_dir, training_cost.FILE, cost.to_json())
    signatures.ServedModel(network, transform).export(fn_args.serving_model_dir)


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
