"""IdxExampleGen: MNIST's own IDX files become the splits `train`, `eval` and `test`.

The pair `train-images*`, `train-labels*` gives `train` and, from its end, `eval`;
the pair `t10k-images*`, `t10k-labels*` gives `test`. Files may be raw or gzipped.
The features of an example are named in `trainer/features.py`.

Data that keeps coming has its pairs in a folder for each span, such as `span-12/`, or for
each version of a span, `span-12/version-2/`: one span is ingested, of its newest version.

What this does not do: judge the content. A wrong size, a label of 12 or an
inverted image is written as it is, for the schema to find; only files that are not
whole IDX files are refused here.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import posixpath
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal

import apache_beam as beam
import tensorflow as tf
from google.protobuf import struct_pb2
from tfx.components.example_gen import (
    base_example_gen_executor,
    component,
    driver,
    utils,
)
from tfx.dsl.components.base import executor_spec
from tfx.dsl.io import fileio
from tfx.orchestration.data_types import RuntimeParameter
from tfx.proto import example_gen_pb2, range_config_pb2
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as specs
from tfx.types.artifact import Artifact
from tfx.utils import proto_utils

from components import idx_format
from trainer import features

TRAIN, EVAL, TEST = "train", "eval", "test"
LATEST: Final = "latest"
FILES = "files"  # custom property of the examples: JSON, the sha256 of each file by its path
_EVAL_FRACTION = "eval_fraction"


class Driver(driver.FileBasedDriver):  # type: ignore[misc]
    """Fingerprints the files by content.

    TFX uses their times of change, so a second download of the same data would train again.
    """

    def resolve_exec_properties(
        self, exec_properties: dict[str, Any], pipeline_info: Any, component_info: Any
    ) -> dict[str, Any]:
        """What TFX's driver resolves, with another fingerprint."""
        resolved: dict[str, Any] = super().resolve_exec_properties(
            exec_properties, pipeline_info, component_info
        )
        digest = hashlib.sha256()
        for path, content in file_digests(resolved).items():
            digest.update(f"{posixpath.basename(path)}:{content}\n".encode())
        resolved[utils.FINGERPRINT_PROPERTY_NAME] = f"sha256:{digest.hexdigest()}"
        return resolved


class Executor(base_example_gen_executor.BaseExampleGenExecutor):  # type: ignore[misc]
    """Writes every split as gzipped TFRecord files of tf.Example protos."""

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """What TFX's executor does; the files are recorded, for lineage."""
        super().Do(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(output_dict[specs.EXAMPLES_KEY])
        examples.set_string_custom_property(FILES, json.dumps(file_digests(exec_properties)))

    def GetInputSourceToExamplePTransform(self) -> type[beam.PTransform]:
        """The transform for a whole pair."""
        return ReadIdxPair

    def GenerateExamplesByBeam(
        self, pipeline: beam.Pipeline, exec_properties: dict[str, Any]
    ) -> dict[str, beam.PCollection]:
        """One collection of serialized examples for each split."""
        custom_config = example_gen_pb2.CustomConfig()
        proto_utils.json_to_proto(exec_properties[specs.CUSTOM_CONFIG_KEY], custom_config)
        settings = struct_pb2.Struct()
        custom_config.custom_config.Unpack(settings)
        boundary = 1 - settings[_EVAL_FRACTION]
        share = {TRAIN: (0.0, boundary), EVAL: (boundary, 1.0), TEST: (0.0, 1.0)}
        folder = exec_properties[specs.INPUT_BASE_KEY]
        return {
            split.name: pipeline
            | f"Read[{split.name}]" >> ReadIdxPair(folder, split.pattern, *share[split.name])
            for split in _input_config(exec_properties).splits
        }


class IdxExampleGen(component.FileBasedExampleGen):  # type: ignore[misc]
    """A FileBasedExampleGen for pairs of IDX files.

    Args:
      input_base: the folder with the four files, a path or a bucket's URI.
      eval_fraction: the share of the training pair that becomes `eval`, 0 to 1. It
        is taken from the end, so that it is the same images in every run.
      span: which span to take, a number or LATEST; None where the four files are in
        `input_base` itself.
      span_folder: where a span's files are below it: a path with {SPAN}, and perhaps {VERSION}.
      code_digest: what identifies this component's code. TFX's cache key has no code
        in it, so without this an edit would look unchanged.
    """

    DRIVER_CLASS = Driver
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        input_base: str | RuntimeParameter,
        eval_fraction: float,
        span: int | Literal["latest"] | None = None,
        span_folder: str = "span-{SPAN}",
        code_digest: str = "",
    ):
        settings = struct_pb2.Struct()
        settings.update({_EVAL_FRACTION: eval_fraction, "code_digest": code_digest})
        custom_config = example_gen_pb2.CustomConfig()
        custom_config.custom_config.Pack(settings)
        Split = example_gen_pb2.Input.Split
        prefix = "" if span is None else f"{span_folder}/"
        is_numbered = span is not None and span != LATEST  # TFX takes the latest unless told
        super().__init__(
            input_base=input_base,
            input_config=example_gen_pb2.Input(
                splits=[
                    Split(name=TRAIN, pattern=f"{prefix}train-*"),
                    Split(name=EVAL, pattern=f"{prefix}train-*"),
                    Split(name=TEST, pattern=f"{prefix}t10k-*"),
                ]
            ),
            custom_config=custom_config,
            range_config=range_config_pb2.RangeConfig(
                static_range=range_config_pb2.StaticRange(
                    start_span_number=span, end_span_number=span
                )
            )
            if is_numbered
            else None,
        )


class ReadIdxPair(beam.PTransform):  # type: ignore[misc]
    """Reads the pair of IDX files that match a pattern, as serialized tf.Example protos.

    Args:
      folder: where the files are.
      pattern: a glob that matches the image file and the label file; it may begin with a
        folder's name.
      first: where to start, as a share of the images, 0 to 1.
      last: where to stop.
    """

    def __init__(self, folder: str, pattern: str, first: float = 0.0, last: float = 1.0):
        super().__init__()
        self._arguments = folder, pattern, first, last

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """Beam's entry point."""
        return (
            pipeline
            | beam.Create([self._arguments])
            | beam.FlatMapTuple(_read_examples).with_output_types(bytes)
        )


def make_examples(
    pair: idx_format.ImagesAndLabels, start: int = 0, stop: int | None = None
) -> Iterator[tf.train.Example]:
    """One example for each image from `start` up to, not including, `stop`."""
    images = pair.images[start:stop]
    labels = pair.labels[start:stop]
    _, height, width = pair.images.shape
    means = images.mean(axis=(1, 2), dtype="float32")
    minima = images.min(axis=(1, 2), initial=features.WHITE)
    maxima = images.max(axis=(1, 2), initial=0)
    for offset, image in enumerate(images):
        example = tf.train.Example()
        feature = example.features.feature
        feature[features.INDEX].int64_list.value.append(start + offset)
        feature[features.IMAGE].bytes_list.value.append(image.tobytes())
        feature[features.LABEL].int64_list.value.append(int(labels[offset]))
        feature[features.IMAGE_HEIGHT_PX].int64_list.value.append(height)
        feature[features.IMAGE_WIDTH_PX].int64_list.value.append(width)
        feature[features.PIXEL_MEAN].float_list.value.append(float(means[offset]))
        feature[features.PIXEL_MIN].int64_list.value.append(int(minima[offset]))
        feature[features.PIXEL_MAX].int64_list.value.append(int(maxima[offset]))
        yield example


def _read_examples(folder: str, pattern: str, first: float, last: float) -> Iterator[bytes]:
    below, name = posixpath.split(pattern)
    with _on_disk(posixpath.join(folder, below), name) as local_folder:
        pair = idx_format.read_pair(*idx_format.find_pair(local_folder, name))
    start, stop = (round(share * len(pair.images)) for share in (first, last))
    for example in make_examples(pair, start, stop):
        yield example.SerializeToString(deterministic=True)


@contextmanager
def _on_disk(folder: str, pattern: str) -> Iterator[str]:
    """The folder, or where it is in a bucket, a copy of the files that match."""
    if "://" not in folder:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="idx-") as scratch:
        for path in matching(folder, pattern):
            fileio.copy(path, posixpath.join(scratch, posixpath.basename(path)))
        yield scratch


def file_digests(exec_properties: dict[str, Any]) -> dict[str, str]:
    """The sha256 of each file that is ingested, by its path below the data's folder."""
    base = exec_properties[specs.INPUT_BASE_KEY]
    patterns = {split.pattern for split in _input_config(exec_properties).splits}
    digests = {}
    for below, name in map(posixpath.split, patterns):
        for path in matching(posixpath.join(base, below), name):
            content = hashlib.sha256(fileio.open(path, "rb").read()).hexdigest()
            digests[posixpath.join(below, posixpath.basename(path))] = content
    return dict(sorted(digests.items()))


def matching(folder: str, pattern: str) -> list[str]:
    """The files in a folder, a path or a bucket's URI, whose names match."""
    # Not a glob of the whole: the folder's own path may have brackets in it.
    names = fnmatch.filter(map(str, fileio.listdir(folder)), pattern)
    return [posixpath.join(folder, name) for name in names]


def _input_config(exec_properties: dict[str, Any]) -> example_gen_pb2.Input:
    config = example_gen_pb2.Input()
    proto_utils.json_to_proto(exec_properties[specs.INPUT_CONFIG_KEY], config)
    return config
