"""The reference convolutional network."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from typing import Any

import keras

from trainer import features, precision
from trainer.hparams import HyperParameters

PARAMETERS = 1_413_834


def build_model(hparams: HyperParameters, steps: int) -> keras.Model:
    """The network, compiled: images float32 [batch, 28, 28, 1] in [0, 1] to probabilities.

    Three blocks of convolutions with 64, 128 and 256 filters, each followed by pooling that
    halves height and width; then two dense layers with dropout; then softmax.

    Args:
      hparams: the recipe.
      steps: the number of training batches, which "one_cycle" needs.
    """
    policy = precision.dtype_policy(hparams.precision)
    hidden = {"activation": "relu", "kernel_initializer": hparams.kernel_initializer}
    Conv = functools.partial(keras.layers.Conv2D, padding="same", dtype=policy, **hidden)
    Dense = functools.partial(keras.layers.Dense, dtype=policy, **hidden)
    pooling = {"max": keras.layers.MaxPooling2D, "average": keras.layers.AveragePooling2D}
    Pool = functools.partial(pooling[hparams.pooling], dtype=policy)
    Dropout = functools.partial(keras.layers.Dropout, hparams.dropout, dtype=policy)
    model = keras.Sequential(
        [
            keras.Input((features.HEIGHT_PX, features.WIDTH_PX, 1), name=features.IMAGE),
            Conv(64, 7),
            Pool(2),
            Conv(128, 3),
            Conv(128, 3),
            Pool(2),
            Conv(256, 3),
            Conv(256, 3),
            Pool(2),
            keras.layers.Flatten(dtype=policy),
            Dense(128),
            Dropout(),
            Dense(64),
            Dropout(),
            keras.layers.Dense(
                features.NUM_CLASSES,
                activation="softmax",
                name=features.PROBABILITIES,
                dtype=precision.FLOAT32,  # bfloat16 has three digits, too few for a loss
            ),
        ],
        name="mnist_cnn",
    )
    if model.count_params() != PARAMETERS:
        raise AssertionError(
            f"the model has {model.count_params()} parameters instead of {PARAMETERS}"
        )
    model.compile(
        optimizer=keras.optimizers.Adam(_learning_rate(hparams, steps)),
        loss=loss(hparams.label_smoothing),
        metrics=["accuracy"],
    )
    return model


def layer_table(model: keras.Model) -> str:
    """The table of layers in Keras' format."""
    text = io.StringIO()
    model.summary(print_fn=lambda line, **_: text.write(line + "\n"), line_length=72)
    return text.getvalue().rstrip()


def _learning_rate(
    hparams: HyperParameters, steps: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    if hparams.schedule == "constant":
        return hparams.learning_rate
    # One cycle (Smith and Topin, 2018): a short linear warm-up, then a cosine decay to zero.
    warmup_steps = max(1, round(0.3 * steps))
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=hparams.learning_rate / 25,
        warmup_target=hparams.learning_rate,
        warmup_steps=warmup_steps,
        decay_steps=max(1, steps - warmup_steps),
    )


def loss(label_smoothing: float) -> Callable[[Any, Any], Any]:
    """The cross-entropy of labels [batch] and probabilities [batch, classes].

    Keras' own has no label smoothing if the labels are numbers.
    """
    if not label_smoothing:
        own: Callable[[Any, Any], Any] = keras.losses.SparseCategoricalCrossentropy()
        return own

    def smoothed(labels: Any, probabilities: Any) -> Any:
        spread = keras.ops.one_hot(keras.ops.reshape(labels, [-1]), features.NUM_CLASSES)
        return keras.losses.categorical_crossentropy(
            spread, probabilities, label_smoothing=label_smoothing
        )

    return smoothed
