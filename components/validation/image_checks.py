"""Checks of images that neither a schema nor a distribution can make. NumPy only.

* Duplicates: test images that are also trained on would measure what was memorized.
* Label agreement: the fraction of images whose nearest class mean is that of their label. If a
  label file is shifted by one, the class shares and the images stay as they are, but only
  about 1 in 10 labels agrees; of MNIST's, 0.82 do.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np
from numpy.typing import NDArray

from components.images.example_split import ExampleSplit
from trainer import features

MEASURES_FILE: Final = "measures.json"
"""The measured values, which ImageValidator writes beside its anomalies."""


def duplicates(split: ExampleSplit, trained: Collection[bytes]) -> NDArray[np.int64]:
    """The indices of the images whose pixels are among those that are trained on."""
    is_trained = np.fromiter((pixels in trained for pixels in split.pixels), bool)
    indices: NDArray[np.int64] = split.indices[is_trained]
    return indices


def class_means(split: ExampleSplit) -> NDArray[np.float32] | None:
    """The mean image of each class, float32 [10, 784]; NaN for a class without images.

    None if images have another size, which the schema check reports.
    """
    images = _flat(split)
    if images is None:
        return None
    means = np.full((features.NUM_CLASSES, features.NUM_PIXELS), np.nan, np.float32)
    for digit in np.intersect1d(split.labels, np.arange(features.NUM_CLASSES)):
        means[digit] = images[split.labels == digit].mean(axis=0)
    return means


def label_agreement(split: ExampleSplit, means: NDArray[np.float32] | None) -> float | None:
    """The fraction of images whose nearest class mean, by Euclidean distance, is their label's.

    None if it is undefined: the split is empty, or images have another size.
    """
    images = _flat(split)
    if images is None or means is None or not len(images):
        return None
    # |image - mean|^2 without |image|^2, which is the same for every class.
    distance = (means**2).sum(axis=1) - 2 * images @ means.T
    nearest = np.where(np.isnan(distance), np.inf, distance).argmin(axis=1)
    return float((nearest == split.labels).mean())


def _flat(split: ExampleSplit) -> NDArray[np.float32] | None:
    if any(len(pixels) != features.NUM_PIXELS for pixels in split.pixels):
        return None
    return split.images.reshape(-1, features.NUM_PIXELS).astype(np.float32)
