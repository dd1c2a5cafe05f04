"""Pairs of IDX files: a Beam transform that makes a tf.Example of each image.

The features of an example are named in `trainer/features.py`.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import apache_beam as beam
import tensorflow as tf
from tfx.dsl.io import fileio

from components.images import idx_format
from trainer import features

DIGESTS: Final = "digests"
"""The collection of the files' digests, beside those of the splits."""


class Part(NamedTuple):
    """The part of a pair that becomes a split."""

    split: str
    first: float = 0.0
    """Where it starts, as a fraction of the images, 0 to 1."""

    last: float = 1.0
    """Where it ends."""


class ReadIdxPair(beam.PTransform):  # type: ignore[misc]
    """Reads a pair of IDX files once; gives a collection of serialized tf.Examples for each part.

    A further collection, "digests", contains a JSON list for each file: its path below the
    folder, and the sha256 of the bytes that were ingested.

    Args:
      folder: where the files are, a path or the URI of a bucket.
      pattern: a glob that matches the image file and the label file; it may begin with the name
        of a folder.
      parts: which images become which split.
    """

    def __init__(self, folder: str, pattern: str, parts: Sequence[Part]):
        super().__init__()
        self._folder, self._pattern, self._parts = folder, pattern, tuple(parts)

    def expand(self, pipeline: beam.Pipeline) -> Any:
        """Beam's entry point."""
        names = [part.split for part in self._parts]
        return (
            pipeline
            | beam.Create([(self._folder, self._pattern, self._parts)])
            | beam.FlatMapTuple(_read_examples).with_outputs(*names, DIGESTS)
        )


def make_examples(
    pair: idx_format.ImagesAndLabels, first_index: int = 0
) -> Iterator[tf.train.Example]:
    """One example for each image; `first_index` is the position of the first one in its file."""
    images, labels = pair
    _, height, width = images.shape
    means = images.mean(axis=(1, 2), dtype="float32")
    minima = images.min(axis=(1, 2))
    maxima = images.max(axis=(1, 2))
    for offset, image in enumerate(images):
        example = tf.train.Example()
        feature = example.features.feature
        feature[features.INDEX].int64_list.value.append(first_index + offset)
        feature[features.IMAGE].bytes_list.value.append(image.tobytes())
        feature[features.LABEL].int64_list.value.append(int(labels[offset]))
        feature[features.IMAGE_HEIGHT_PX].int64_list.value.append(height)
        feature[features.IMAGE_WIDTH_PX].int64_list.value.append(width)
        feature[features.PIXEL_MEAN].float_list.value.append(float(means[offset]))
        feature[features.PIXEL_MIN].int64_list.value.append(int(minima[offset]))
        feature[features.PIXEL_MAX].int64_list.value.append(int(maxima[offset]))
        yield example


def find_files(folder: str, pattern: str) -> tuple[str, str]:
    """The paths of a pair below the folder: the image file, the label file."""
    # Not a glob of the whole path: the folder's own path may contain brackets.
    below, file_pattern = posixpath.split(pattern)
    where = posixpath.join(folder, below) if below else folder
    names = map(str, fileio.listdir(where))
    images, labels = idx_format.choose_pair(names, file_pattern, where)
    return posixpath.join(below, images), posixpath.join(below, labels)


def _read_examples(
    folder: str, pattern: str, parts: Sequence[Part]
) -> Iterator[beam.pvalue.TaggedOutput]:
    """Reads a pair in blocks, so that the memory does not grow with the number of images."""
    paths = find_files(folder, pattern)
    images_name, labels_name = (posixpath.join(folder, path) for path in paths)
    with (
        fileio.open(images_name, "rb") as images_file,
        fileio.open(labels_name, "rb") as labels_file,
    ):
        images = idx_format.IdxReader(images_file, 3, images_name)
        labels = idx_format.IdxReader(labels_file, 1, labels_name)
        idx_format.check_counts(images, labels)
        count = images.shape[0]
        bounds = {part.split: (part.first, part.last) for part in parts}
        position = 0
        for block in zip(images.blocks(), labels.blocks(), strict=True):
            for split, shares in bounds.items():
                start, stop = (max(0, round(share * count) - position) for share in shares)
                chosen = idx_format.ImagesAndLabels(*(each[start:stop] for each in block))
                for example in make_examples(chosen, position + start):
                    record = example.SerializeToString(deterministic=True)
                    yield beam.pvalue.TaggedOutput(split, record)
            position += len(block[0])
        for path, reader in zip(paths, (images, labels), strict=True):
            yield beam.pvalue.TaggedOutput(DIGESTS, json.dumps([path, reader.sha256()]))
