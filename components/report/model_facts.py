"""The candidate's predictions on the clean test images: worst mistakes and confidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.evaluation import results
from components.images.example_split import ExampleSplit


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


def gather(evaluation_uri: str, test: ExampleSplit) -> ModelFacts:
    """Reads what the Evaluator kept of its predictions.

    Args:
      evaluation_uri: the Evaluator's `evaluation` artifact.
      test: the test split, as `example_split.read` returns it.
    """
    found = results.read_predictions(evaluation_uri)
    matrix = results.read_confusion_matrix(evaluation_uri)
    place = {int(index): place for place, index in enumerate(test.indices)}
    shown = np.array([place[index] for index, _, _ in found.worst_mistakes], np.int64)
    # `test.images` would copy all images, and each Mistake would keep the copy.
    images = test.take(shown).images
    worst = [
        Mistake(
            index=index,
            image=image,
            label=label,
            predicted=int(np.argmax(probabilities)),
            probabilities=np.array(probabilities, np.float32),
        )
        for image, (index, label, probabilities) in zip(images, found.worst_mistakes, strict=True)
    ]
    mistakes = int(matrix.sum() - matrix.trace())
    return ModelFacts(int(matrix.sum()), mistakes, tuple(worst), found.bins)
