"""Datasets of tf.data without its autotune thread.

The thread sleeps between two optimizations: 10 ms at first, then twice as long each time, up to
60 s. At the end of an iterator, TensorFlow 2.21 wakes the thread before it sets the flag that
cancels it. The thread then often sleeps for the rest of the interval, and the iterator waits for
it: an epoch of 42 s takes 82 s. The datasets of this project have no buffers whose size is to be
tuned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import tensorflow as tf

_BATCH: Final = 4096  # records that are read at once


def without_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The dataset without the thread; datasets that are derived from it have none either."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def records(files: Sequence[str]) -> tf.data.Dataset:
    """The records of gzipped TFRecord files, in their order: string [_BATCH], the last one shorter.

    In batches, because a single record costs a step of the iterator: nine times as long for MNIST.
    """
    batches = tf.data.TFRecordDataset(files, "GZIP").batch(_BATCH).prefetch(1)
    return without_autotune(batches)
