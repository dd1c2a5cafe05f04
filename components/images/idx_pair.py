"""Pairs of IDX files: finds them, and writes their images as tf.Examples.

The features of an example are named in `trainer/features.py`.
"""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import tensorflow as tf
from tfx.dsl.io import fileio

from components.images import compression, idx_format
from components.images.idx_format import ImagesAndLabels
from trainer import features

IMAGES_PER_FILE: Final = 16_384
"""The maximum number of images in a TFRecord file; a larger split gets several files, which workers
can read in parallel."""


class Part(NamedTuple):
    """The part of a pair that becomes a split."""

    folder: str
    """Where the split is written, a path or the URI of a bucket."""

    first: float
    """Where it starts, as a fraction of the images, 0 to 1."""

    last: float
    """Where it ends, likewise."""


def find_files(folder: str, pattern: str) -> tuple[str, str]:
    """The paths of a pair below the folder: the image file, the label file.

    Args:
      folder: where the files are, a path or the URI of a bucket.
      pattern: a glob that matches both; it may begin with the name of a folder.
    """
    # Not a glob of the whole path: the folder's own path may contain brackets.
    below, file_pattern = posixpath.split(pattern)
    where = posixpath.join(folder, below) if below else folder
    names = map(str, fileio.listdir(where))
    images, labels = idx_format.choose_pair(names, file_pattern, where)
    return posixpath.join(below, images), posixpath.join(below, labels)


def ingest(folder: str, pattern: str, parts: Sequence[Part]) -> dict[str, str]:
    """Reads a pair once, and writes each part as gzipped TFRecord files, in the order of the pair.

    The folder of each part is replaced. After an error it may contain some of the images.

    Args:
      folder: where the pair is, see `find_files`.
      pattern: which pair it is.
      parts: which images become which split.

    Returns:
      The sha256 of the bytes of each file that was read, by its path below the folder.

    Raises:
      IdxFormatError: a file is damaged, or the files do not belong together.
    """
    paths = find_files(folder, pattern)
    images_name, labels_name = (posixpath.join(folder, path) for path in paths)
    with contextlib.ExitStack() as stack:
        images, labels = (
            idx_format.IdxReader(stack.enter_context(fileio.open(name, "rb")), rank, name)
            for name, rank in ((images_name, 3), (labels_name, 1))
        )
        idx_format.check_counts(images, labels)
        count = images.shape[0]
        splits = [
            stack.enter_context(
                contextlib.closing(
                    _SplitFiles(part.folder, round(part.first * count), round(part.last * count))
                )
            )
            for part in parts
        ]
        position = 0
        # In blocks, so that the memory does not grow with the number of images.
        for block in zip(images.blocks(), labels.blocks(), strict=True):
            pair = ImagesAndLabels(*block)
            for split in splits:
                split.write(pair, position)
            position += len(pair.labels)
        return {path: reader.sha256() for path, reader in zip(paths, (images, labels), strict=True)}


def make_examples(pair: ImagesAndLabels, first_index: int = 0) -> Iterator[tf.train.Example]:
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


class _SplitFiles:
    """Writes the images from `start` to `stop` of a pair as TFRecord files."""

    def __init__(self, folder: str, start: int, stop: int):
        self._folder, self._start, self._stop = folder, start, stop
        self._files = max(1, -(-(stop - start) // IMAGES_PER_FILE))
        self._written = 0
        if fileio.exists(folder):  # of an earlier attempt, whose files may have other names
            fileio.rmtree(folder)
        fileio.makedirs(folder)
        self._writer = self._open(0)

    def write(self, block: ImagesAndLabels, position: int) -> None:
        """Writes those images of a block that belong to the split.

        Args:
          block: images and labels, uint8 [count, height, width] and [count].
          position: of the first one in the pair.
        """
        start, stop = (max(0, bound - position) for bound in (self._start, self._stop))
        chosen = ImagesAndLabels(block.images[start:stop], block.labels[start:stop])
        for example in make_examples(chosen, position + start):
            if self._written and self._written % IMAGES_PER_FILE == 0:
                self._writer.close()
                self._writer = self._open(self._written // IMAGES_PER_FILE)
            self._writer.write(example.SerializeToString(deterministic=True))
            self._written += 1

    def close(self) -> None:
        """Completes the last file."""
        self._writer.close()

    def _open(self, number: int) -> tf.io.TFRecordWriter:
        name = f"data_tfrecord-{number:05d}-of-{self._files:05d}.gz"
        return tf.io.TFRecordWriter(posixpath.join(self._folder, name), compression.GZIP)
