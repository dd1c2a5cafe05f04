"""The candidate's predictions on the clean test images: worst mistakes and confidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.evaluation import calibration
from components.images.example_split import ExampleSplit
from trainer import features

_BATCH: Final = 256


@dataclass(frozen=True)
class Mistake:
    """A misclassified test image."""

    index: int
    """Its position in the IDX file."""

    image: NDArray[np.uint8]
    label: int
    predicted: int
    probabilities: NDArray[np.float32]


@dataclass(frozen=True)
class ModelFacts:
    """The facts of the sections about predictions."""

    images: int
    mistakes: int
    worst: tuple[Mistake, ...]
    """The mistakes with the lowest probability of the true class, worst first."""

    bins: NDArray[np.float64]
    """From `calibration.bin_sums`."""


def gather(model: str, test: ExampleSplit, shown: int = 50) -> ModelFacts:
    """Runs the model on the test split.

    Args:
      model: the SavedModel's folder.
      test: the test split, as ingested.
      shown: the number of mistakes to keep.
    """
    images = test.images
    found = probabilities(signature(model), images)
    predicted = found.argmax(axis=1)
    wrong = np.flatnonzero(predicted != test.labels)
    own = found[wrong, test.labels[wrong]]
    worst = [
        Mistake(
            index=int(test.indices[place]),
            image=images[place],
            label=int(test.labels[place]),
            predicted=int(predicted[place]),
            probabilities=found[place],
        )
        for place in wrong[np.argsort(own, kind="stable")][:shown]
    ]
    bins = calibration.bin_sums(found, test.labels)
    return ModelFacts(len(images), len(wrong), tuple(worst), bins)


def signature(model: str) -> Any:
    """The signature of a SavedModel that takes images."""
    return tf.saved_model.load(model).signatures[features.PREDICT_IMAGES]


def probabilities(predict: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The probabilities, float32 [count, 10], that a `signature` gives for images.

    Args:
      predict: the signature.
      images: uint8 [count, 28, 28].
    """
    return np.concatenate(
        [
            predict(**{features.IMAGES: tf.constant(images[start : start + _BATCH])})[
                features.PROBABILITIES
            ].numpy()
            for start in range(0, len(images), _BATCH)
        ]
    )
