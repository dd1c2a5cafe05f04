"""Transformed examples: reads splits from files and makes batches.

A split is held in memory: 3 KiB for each image, 180 MiB for all of MNIST. Beam does not preserve
the order of examples, so they are sorted by index, and examples with the same index by span. The
same seed therefore gives the same batches, whatever order the files have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from numpy.typing import NDArray

from trainer import features


class Split(NamedTuple):
    """`images` is float32 [count, 28, 28, 1] in [0, 1], `labels` int64 [count]."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]

    def sample(self, count: int, seed: int) -> Split:
        """`count` images chosen by `seed`, without replacement; all images if there are fewer."""
        chosen = np.random.default_rng(seed).permutation(len(self.images))[:count]
        return Split(self.images[chosen], self.labels[chosen])


def load(file_patterns: Sequence[str], transform: tft.TFTransformOutput) -> Split:
    """Reads a split from gzipped TFRecord files, ordered by index.

    Raises:
      ValueError: the files contain no examples.
    """
    # Sorted within a pattern only: the patterns are in the order of the spans.
    files = [path for pattern in file_patterns for path in sorted(tf.io.gfile.glob(pattern))]
    spec = transform.transformed_feature_spec()
    batches = list(
        tf.data.TFRecordDataset(files, compression_type="GZIP")
        .batch(1024)
        .map(lambda records: tf.io.parse_example(records, spec))
        .as_numpy_iterator()
    )
    if not batches:
        raise ValueError(f"{', '.join(file_patterns)} contain no examples")
    columns = {
        key: np.concatenate([batch[key] for batch in batches])
        for key in (features.INDEX, features.IMAGE, features.LABEL)
    }
    order = np.argsort(columns[features.INDEX], kind="stable")
    return Split(columns[features.IMAGE][order], columns[features.LABEL][order])


def training_batches(
    split: Split,
    batch_size: int,
    seed: int,
    max_shift_px: float = 0.0,
    *,
    drop_remainder: bool = False,
) -> tf.data.Dataset:
    """Batches in a new order in every epoch.

    Args:
      split: the images and labels.
      batch_size: the number of images in a batch.
      seed: of the order, and of the shifts.
      max_shift_px: the maximum distance that an image is moved by, in each direction, every time
        that it is shown; the distance is not a whole number of pixels.
      drop_remainder: whether to leave out the last batch if it is smaller than the others.
    """
    batches = (
        tf.data.Dataset.from_tensor_slices((split.images, split.labels))
        .shuffle(len(split.images), seed=seed, reshuffle_each_iteration=True)
        .batch(batch_size, drop_remainder=drop_remainder)
    )
    if max_shift_px:
        move = keras.layers.RandomTranslation(
            max_shift_px / features.HEIGHT_PX,
            max_shift_px / features.WIDTH_PX,
            fill_mode="constant",
            interpolation="bilinear",
            seed=seed,
        )
        batches = batches.map(lambda images, labels: (move(images, training=True), labels))
    return batches.prefetch(2)


def evaluation_batches(split: Split) -> tf.data.Dataset:
    """Batches of 256 images in the order of the split."""
    return tf.data.Dataset.from_tensor_slices((split.images, split.labels)).batch(256).prefetch(2)
