"""Checks of images that neither a schema nor a distribution can make. NumPy only.

* Duplicates: test images that are also trained on would measure what was memorized.
* Label agreement: the fraction of images whose nearest class mean is that of their label. If a
  label file is shifted by one, the class shares and the images stay as they are, but only
  about 1 in 10 labels agrees; of MNIST's, 0.82 do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from components.images.example_split import ExampleSplit
from trainer import features

MEASURES_FILE: Final = "measures.json"
"""The measured values, which ImageValidator writes beside its anomalies.

JSON: "duplicates" and "label_agreement", each by split; null where undefined.
"""


def digest(pixels: bytes) -> bytes:
    """16 bytes that stand for an image."""
    return hashlib.blake2b(pixels, digest_size=16).digest()


def duplicates(split: ExampleSplit, trained: Collection[bytes]) -> NDArray[np.int64]:
    """The indices of the images whose digests are among those that are trained on."""
    is_trained = np.fromiter((digest(pixels) in trained for pixels in split.pixels), bool)
    indices: NDArray[np.int64] = split.indices[is_trained]
    return indices


def class_means(blocks: Iterable[ExampleSplit]) -> NDArray[np.float32] | None:
    """The mean image of each class, float32 [10, 784]; NaN for a class without images.

    None if images have another size, which the schema check reports.
    """
    sums = np.zeros((features.NUM_CLASSES, features.NUM_PIXELS))
    counts = np.zeros((features.NUM_CLASSES, 1))
    for block in blocks:
        images = _flat(block)
        if images is None:
            return None
        for digit in np.intersect1d(block.labels, np.arange(features.NUM_CLASSES)):
            chosen = images[block.labels == digit]
            sums[digit] += chosen.sum(axis=0, dtype=np.float64)
            counts[digit] += len(chosen)
    with np.errstate(invalid="ignore"):
        means: NDArray[np.float32] = (sums / counts).astype(np.float32)
    return means


def agreements(split: ExampleSplit, means: NDArray[np.float32] | None) -> int | None:
    """How many images have the nearest class mean, by Euclidean distance, of their label.

    None if it is undefined, because images have another size.
    """
    images = _flat(split)
    if images is None or means is None:
        return None
    # |image - mean|^2 without |image|^2, which is the same for every class.
    distance = (means**2).sum(axis=1) - 2 * images @ means.T
    nearest = np.where(np.isnan(distance), np.inf, distance).argmin(axis=1)
    return int((nearest == split.labels).sum())


def _flat(split: ExampleSplit) -> NDArray[np.float32] | None:
    if any(len(pixels) != features.NUM_PIXELS for pixels in split.pixels):
        return None
    return split.images.reshape(-1, features.NUM_PIXELS).astype(np.float32)
