"""The training data: reads splits, transforms them with the transform graph, and makes batches.

The transformed images of a split are in a temporary file that is mapped into memory, 3 KiB for each
image: the kernel can remove them from memory when it needs the space.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from numpy.typing import NDArray

from trainer import features, tf_data


class Split(NamedTuple):
    """`images` is float32 [count, 28, 28, 1] in [0, 1], `labels` int64 [count]."""

    images: NDArray[np.float32]
    """In a file that is mapped into memory, if `load` made it."""

    labels: NDArray[np.int64]

    def sample(self, count: int, seed: int) -> Split:
        """`count` images chosen by `seed`, without replacement; all images if there are fewer."""
        chosen = np.random.default_rng(seed).permutation(len(self.images))[:count]
        return Split(self.images[chosen], self.labels[chosen])


def load(file_patterns: Sequence[str], transform: tft.TFTransformOutput) -> Split:
    """Reads a split from gzipped TFRecord files, and transforms the images.

    The images have the order of the patterns, of the files' names, and of the files. With the
    same files, the same seed therefore gives the same batches.

    Raises:
      ValueError: the files contain no examples.
      OSError: the temporary file does not fit on its disk (`TMPDIR`).
    """
    files = [path for pattern in file_patterns for path in sorted(tf.io.gfile.glob(pattern))]
    raw = transform.raw_feature_spec()
    spec = {name: raw[name] for name in (features.IMAGE, features.LABEL)}
    layer = transform.transform_features_layer()

    # Not in `map`: as a function of its own, the graph is optimized as it is in the served model,
    # and its results are equal to the last bit.
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def transformed(records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        batch = layer(tf.io.parse_example(records, spec))
        return batch[features.IMAGE], batch[features.LABEL]

    parts, shape = [], None
    with tempfile.TemporaryFile() as file:  # the mapping remains when it is closed
        for images, labels in map(transformed, tf_data.records(files)):
            shape = images.shape[1:]
            file.write(images.numpy().tobytes())
            parts.append(labels.numpy())
        if shape is None:
            raise ValueError(f"{', '.join(file_patterns)} contain no examples")
        file.flush()
        all_labels = np.concatenate(parts)
        return Split(np.memmap(file, np.float32, "r", shape=(len(all_labels), *shape)), all_labels)


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
    count = len(split.images)
    order = tf.data.Dataset.range(count).shuffle(count, seed=seed, reshuffle_each_iteration=True)
    batches = _batches(split, order.batch(batch_size, drop_remainder=drop_remainder))
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
    return _batches(split, tf.data.Dataset.range(len(split.images)).batch(256)).prefetch(2)


def _batches(split: Split, positions: tf.data.Dataset) -> tf.data.Dataset:
    """The images and labels at batches of positions, copied from the split when they are needed."""

    def take(chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = tf.numpy_function(
            lambda rows: (split.images[rows], split.labels[rows]), [chosen], [tf.float32, tf.int64]
        )
        images.set_shape([*chosen.shape, *split.images.shape[1:]])
        labels.set_shape(chosen.shape)
        return images, labels

    return tf_data.without_autotune(positions.map(take))
