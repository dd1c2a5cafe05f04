"""Transformed examples, from files to batches.

A split is held in memory, 3 KiB an image: 180 MiB for all of MNIST. Beam does not
keep the order of examples, so they are sorted by their index first, and where several spans
have the same, by the span; whatever order they were written in, the same seed then gives the same
batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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
        """`count` images chosen by `seed`, without repeats; all of them if there are fewer."""
        chosen = np.random.default_rng(seed).permutation(len(self.images))[:count]
        return Split(self.images[chosen], self.labels[chosen])


def load(file_patterns: Sequence[str], transform: tft.TFTransformOutput) -> Split:
    """Reads a split's gzipped TFRecord files, ordered by index.

    Raises:
      ValueError: there are no examples.
    """
    # Not all of them sorted: spans come in their order, wherever they are.
    files = [path for pattern in file_patterns for path in sorted(tf.io.gfile.glob(pattern))]
    spec = transform.transformed_feature_spec()
    batches = list(
        tf.data.TFRecordDataset(files, compression_type="GZIP")
        .batch(1024)
        .map(lambda records: tf.io.parse_example(records, spec))
        .as_numpy_iterator()
    )
    if not batches:
        raise ValueError(f"there are no examples in {', '.join(file_patterns)}")
    columns = {
        key: np.concatenate([batch[key] for batch in batches])
        for key in (features.INDEX, features.IMAGE, features.LABEL)
    }
    order = np.argsort(columns[features.INDEX], kind="stable")
    return Split(columns[features.IMAGE][order], columns[features.LABEL][order])


def training_batches(split: Split, batch_size: int, seed: int) -> tf.data.Dataset:
    """Batches in an order that is new in every epoch; the last one may be smaller."""
    return (
        tf.data.Dataset.from_tensor_slices((split.images, split.labels))
        .shuffle(len(split.images), seed=seed, reshuffle_each_iteration=True)
        .batch(batch_size)
        .prefetch(2)
    )


def evaluation_batches(split: Split) -> tf.data.Dataset:
    """Batches in order."""
    return tf.data.Dataset.from_tensor_slices((split.images, split.labels)).batch(256).prefetch(2)
