"""CorruptedExamples: the clean test split, and a sample of it under each corruption.

The output is one set of examples with two splits, so that accuracy on clean images and
robustness are slices of one evaluation. Each example names its corruption
(`components/evaluation/slice_features.py`).
"""

# No `from __future__ import annotations`: the decorator reads the annotations as objects.

import json
import posixpath
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts

from components.evaluation import slice_features
from components.images import compression, corruptions, example_split
from components.images.example_split import ExampleSplit
from components.names.artifact_properties import EXAMPLES_COUNT
from components.names.splits import CORRUPTED, TEST
from trainer import features


class Condition(NamedTuple):
    """The corruption of an image; the default is none."""

    corruption: str = slice_features.IDENTITY
    strength: int = 0
    direction: str = ""


@component
def CorruptedExamples(
    examples: InputArtifact[standard_artifacts.Examples],
    corrupted: OutputArtifact[standard_artifacts.Examples],
    images: Parameter[int],
    seed: Parameter[int],
    strengths_json: Parameter[str],
    code_digest: Parameter[str],
) -> None:
    """Writes the splits `test` and `corrupted`.

    Args:
      examples: as ingested; the split `test` is read.
      corrupted: the whole test split, and the corrupted images.
      images: the number of images to corrupt; each is corrupted in every way.
      seed: chooses these images, and seeds the random corruptions.
      strengths_json: the strengths of each corruption, as a JSON object of lists.
      code_digest: the digest of this component's code.
    """
    test = example_split.read(examples, TEST)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(test.labels))[:images])
    sample = test.take(chosen)
    corrupted.split_names = artifact_utils.encode_split_names([TEST, CORRUPTED])
    count = _write(corrupted, TEST, _examples(test, test.images, Condition()))
    count += _write(corrupted, CORRUPTED, corrupt(sample, json.loads(strengths_json), seed))
    corrupted.set_int_custom_property(EXAMPLES_COUNT, count)


def corrupt(
    sample: ExampleSplit, strengths: Mapping[str, Sequence[int]], seed: int
) -> Iterator[tf.train.Example]:
    """The sample under each corruption at each strength; translations in each direction."""
    images = sample.images
    for name, chosen in strengths.items():
        for strength in chosen:
            if name == corruptions.TRANSLATE:
                for direction in corruptions.DIRECTIONS:
                    moved = corruptions.shift(images, direction, strength)
                    yield from _examples(sample, moved, Condition(name, strength, direction))
                continue
            # Not hash(), whose value differs between processes.
            rng = np.random.default_rng([seed, zlib.crc32(name.encode()), strength])
            changed = corruptions.CORRUPTIONS[name].apply(images, strength, rng)
            yield from _examples(sample, changed, Condition(name, strength))


def _examples(
    split: ExampleSplit, images: NDArray[np.uint8], condition: Condition
) -> Iterator[tf.train.Example]:
    for image, label, index in zip(images, split.labels, split.indices, strict=True):
        example = tf.train.Example()
        feature = example.features.feature
        feature[features.IMAGE].bytes_list.value.append(image.tobytes())
        feature[features.LABEL].int64_list.value.append(int(label))
        feature[features.INDEX].int64_list.value.append(int(index))
        feature[slice_features.CORRUPTION].bytes_list.value.append(condition.corruption.encode())
        feature[slice_features.STRENGTH].int64_list.value.append(condition.strength)
        feature[slice_features.DIRECTION].bytes_list.value.append(condition.direction.encode())
        yield example


def _write(
    examples: standard_artifacts.Examples, split: str, content: Iterator[tf.train.Example]
) -> int:
    """Writes a split; returns the number of examples."""
    folder = artifact_utils.get_split_uri([examples], split)
    fileio.makedirs(folder)
    path = posixpath.join(folder, "examples.tfrecord.gz")
    count = 0
    with tf.io.TFRecordWriter(path, compression.GZIP) as writer:
        for count, example in enumerate(content, start=1):  # noqa: B007 - the last one is returned
            writer.write(example.SerializeToString(deterministic=True))
    return count
