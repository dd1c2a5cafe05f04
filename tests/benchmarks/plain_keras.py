"""The training and the predictions of a run, as a script without a pipeline.

    python -m benchmarks.plain_keras FOLDER_OF_IDX_FILES RECIPE PREDICTIONS

RECIPE is the recipe as JSON, and PREDICTIONS the number of images that the Evaluator predicts.
Prints JSON: images/s of `fit` with arrays in memory, as users call it, and of the model in batches
of 128 (in float32, as the pipeline's model), and the seconds that TensorFlow waited at the end of
the last epoch and of the predictions (`trainer/tf_data.py`). The rates leave out this wait, which
makes the script look faster than it is for a user.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from components.images import idx_format
from trainer import features, model
from trainer.hparams import HyperParameters

BATCH = 128


def main() -> None:
    """Trains and predicts."""
    folder, recipe, predictions = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    hparams = HyperParameters.model_validate_json(recipe)
    train = idx_format.read_pair(*idx_format.find_pair(folder, "train-*"))
    test = idx_format.read_pair(*idx_format.find_pair(folder, "t10k-*"))
    count = len(train.images) if hparams.train_images == "all" else hparams.train_images
    keras.utils.set_random_seed(hparams.seed)
    steps = math.ceil(count / hparams.batch_size) * hparams.epochs
    network = model.build_model(hparams, steps)
    images, labels = _scaled(train.images[:count]), np.asarray(train.labels[:count], np.int64)

    clock = _Clock()
    options = {"verbose": 0, "callbacks": [clock]}
    start_s = time.perf_counter()
    network.fit(images, labels, batch_size=hparams.batch_size, epochs=hparams.epochs, **options)
    fit_s, waited_s = clock.end_s - start_s, time.perf_counter() - clock.end_s

    if hparams.precision != "float32":
        weights = network.get_weights()
        network = model.build_model(hparams.changed({"precision": "float32"}), steps)
        network.set_weights(weights)
    shown = np.resize(_scaled(test.images), (predictions, *images.shape[1:]))
    start_s = time.perf_counter()
    network.predict(shown, batch_size=BATCH, **options)
    predict_s = clock.end_s - start_s
    waited_s += time.perf_counter() - clock.end_s
    rates = {"fit": count * hparams.epochs / fit_s, "predict": predictions / predict_s}
    print(json.dumps(rates | {"waited_s": waited_s}))


class _Clock(keras.callbacks.Callback):  # type: ignore[misc]
    """When Keras had shown all images."""

    end_s = 0.0

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.end_s = time.perf_counter()

    on_predict_end = on_train_end


def _scaled(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(pixels, np.float32)[..., np.newaxis] / np.float32(features.WHITE)


if __name__ == "__main__":
    main()
