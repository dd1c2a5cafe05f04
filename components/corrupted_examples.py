"""CorruptedExamples: the test split as it is, and a sample of it under each corruption.

What the Evaluator is given: one set of examples with two splits, so that accuracy on clean
images and robustness are slices of one evaluation. Each example says what was done to its
image (`trainer/features.py`: CORRUPTION, STRENGTH, DIRECTION).
"""

# No `from __future__ import annotations`: the decorator reads the annotations as objects.

import json
import posixpath
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts

from components import corruptions, ingested
from components.idx_example_gen import TEST
from trainer import features

CORRUPTED: Final = "corrupted"


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
      corrupted: that split, all of it, and the corrupted images.
      images: how many images are corrupted; each in every way.
      seed: chooses them, and what is random in a corruption.
      strengths_json: the strengths of each corruption, as a JSON object of lists.
      code_digest: identifies the code, see `IdxExampleGen`.
    """
    test = ingested.read(examples, TEST)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(test.labels))[:images])
    sample = test.take(chosen)
    corrupted.split_names = artifact_utils.encode_split_names([TEST, CORRUPTED])
    _write(corrupted, TEST, _examples(test, test.images, features.IDENTITY, 0, ""))
    _write(corrupted, CORRUPTED, corrupt(sample, json.loads(strengths_json), seed))


def corrupt(
    sample: ingested.Split, strengths: Mapping[str, Sequence[int]], seed: int
) -> Iterator[tf.train.Example]:
    """The sample under each corruption, at each strength; a translation in each direction."""
    images = sample.images
    for name, chosen in strengths.items():
        for strength in chosen:
            if name == corruptions.TRANSLATE:
                for direction in corruptions.DIRECTIONS:
                    moved = corruptions.shift(images, direction, strength)
                    yield from _examples(sample, moved, name, strength, direction)
                continue
            # Not hash(): that is another number in every process.
            rng = np.random.default_rng([seed, zlib.crc32(name.encode()), strength])
            changed = corruptions.CORRUPTIONS[name].apply(images, strength, rng)
            yield from _examples(sample, changed, name, strength, "")


def _examples(
    split: ingested.Split,
    images: NDArray[np.uint8],
    corruption: str,
    strength: int,
    direction: str,
) -> Iterator[tf.train.Example]:
    for image, label, index in zip(images, split.labels, split.indices, strict=True):
        example = tf.train.Example()
        feature = example.features.feature
        feature[features.IMAGE].bytes_list.value.append(image.tobytes())
        feature[features.LABEL].int64_list.value.append(int(label))
        feature[features.INDEX].int64_list.value.append(int(index))
        feature[features.CORRUPTION].bytes_list.value.append(corruption.encode())
        feature[features.STRENGTH].int64_list.value.append(strength)
        feature[features.DIRECTION].bytes_list.value.append(direction.encode())
        yield example


def _write(
    examples: standard_artifacts.Examples, split: str, content: Iterator[tf.train.Example]
) -> None:
    folder = artifact_utils.get_split_uri([examples], split)
    fileio.makedirs(folder)
    path = posixpath.join(folder, "examples.tfrecord.gz")
    with tf.io.TFRecordWriter(path, "GZIP") as writer:
        for example in content:
            writer.write(example.SerializeToString(deterministic=True))
