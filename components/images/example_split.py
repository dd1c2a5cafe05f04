"""Ingested examples: reads a split that IdxExampleGen wrote, in the order of the IDX file.

A split is held in memory: 1 KiB for each image, 60 MiB for all of MNIST.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact

from components.names import artifact_properties as properties
from trainer import features, tf_data

_SPEC = {
    features.IMAGE: tf.io.FixedLenFeature([], tf.string),
    features.LABEL: tf.io.FixedLenFeature([], tf.int64),
    features.INDEX: tf.io.FixedLenFeature([], tf.int64),
}


class ExampleSplit(NamedTuple):
    """Examples; `read` orders them by `indices`."""

    records: Sequence[bytes]
    """Serialized tf.Example protos."""

    pixels: Sequence[bytes]
    """The pixels of each image, row by row, one byte each; of any size, as ingestion does not
    validate."""

    labels: NDArray[np.int64]
    """[count]"""

    indices: NDArray[np.int64]
    """[count], positions in the IDX file."""

    @property
    def images(self) -> NDArray[np.uint8]:
        """A copy of all images, uint8 [count, 28, 28].

        Raises:
          ValueError: an image has another size.
        """
        flat = np.frombuffer(b"".join(self.pixels), np.uint8)
        return flat.reshape(len(self.pixels), features.HEIGHT_PX, features.WIDTH_PX)

    def take(self, positions: NDArray[np.integer]) -> ExampleSplit:
        """The examples at these positions."""
        return ExampleSplit(
            [self.records[position] for position in positions],
            [self.pixels[position] for position in positions],
            self.labels[positions],
            self.indices[positions],
        )


def read(examples: Artifact, split: str) -> ExampleSplit:
    """Reads a split of an Examples artifact into memory, from disk or from a bucket."""
    parts = list(blocks(examples, split))
    if not parts:
        return ExampleSplit([], [], np.zeros(0, np.int64), np.zeros(0, np.int64))
    labels, indices = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("labels", "indices")
    )
    records = [record for part in parts for record in part.records]
    pixels = [image for part in parts for image in part.pixels]
    return ExampleSplit(records, pixels, labels, indices).take(np.argsort(indices, kind="stable"))


def blocks(examples: Artifact, split: str) -> Iterator[ExampleSplit]:
    """The same examples in parts, in the order of the files; at most three parts are in memory."""
    folder = artifact_utils.get_split_uri([examples], split)
    paths = [posixpath.join(folder, name) for name in sorted(fileio.listdir(folder))]
    for records in tf_data.records(paths).as_numpy_iterator():
        parsed = tf.io.parse_example(tf.constant(records), _SPEC)
        yield ExampleSplit(
            records.tolist(),
            parsed[features.IMAGE].numpy().tolist(),
            parsed[features.LABEL].numpy(),
            parsed[features.INDEX].numpy(),
        )


def span(examples: Artifact) -> int:
    """The number of the span that these examples belong to; 0 without spans."""
    return int(examples.get_int_custom_property(properties.SPAN))
