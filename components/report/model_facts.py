"""What the candidate says about each clean test image: its worst mistakes, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components import calibration, ingested
from trainer import features

_BATCH: Final = 256


@dataclass(frozen=True)
class Mistake:
    """A test image that was taken for another digit."""

    index: int
    """Its position in the IDX file."""

    image: NDArray[np.uint8]
    label: int
    predicted: int
    probabilities: NDArray[np.float32]


@dataclass(frozen=True)
class ModelFacts:
    """What the report says of the predictions."""

    images: int
    mistakes: int
    worst: tuple[Mistake, ...]
    """Those with the lowest probability for what the image shows, worst first."""

    bins: NDArray[np.float64]
    """As `calibration.bin_sums` has them."""


def gather(model: str, test: ingested.Split, shown: int = 50) -> ModelFacts:
    """Asks the model about the test split.

    Args:
      model: the SavedModel's folder.
      test: as ingested.
      shown: how many mistakes are kept.
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
    """What a SavedModel answers images with."""
    return tf.saved_model.load(model).signatures[features.PREDICT_IMAGES]


def probabilities(predict: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a `signature` says of images, uint8 [count, 28, 28]; float32 [count, 10]."""
    return np.concatenate(
        [
            predict(**{features.IMAGES: tf.constant(images[start : start + _BATCH])})[
                features.PROBABILITIES
            ].numpy()
            for start in range(0, len(images), _BATCH)
        ]
    )
