"""Compares ways to store an image in a tf.Example: size, and time to write, validate and read.

    .venv/bin/python tests/benchmarks/image_encoding.py [FOLDER_WITH_MNIST]

All ways are measured side by side in one run, on the first 20,000 training images. DECISIONS.md
has a result and the decision.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
import tensorflow_data_validation as tfdv
from apache_beam.options.pipeline_options import PipelineOptions
from rich.console import Console
from rich.table import Table

from components.images import idx_format, idx_pair
from components.images.idx_format import ImagesAndLabels
from pipeline.graph.beam import BEAM_OPTIONS
from pipeline.local import dataset_source
from trainer import features

IMAGES = 20_000
FixedLen = tf.io.FixedLenFeature


def as_bytes(pair: ImagesAndLabels) -> Iterator[tf.train.Example]:
    """The pipeline's way: raw bytes, and scalars for validation."""
    yield from idx_pair.make_examples(pair)


def as_numbers(kind: str) -> Callable[[ImagesAndLabels], Iterator[tf.train.Example]]:
    """A list of 784 numbers: validation sees each pixel, but no image as a whole."""

    def examples(pair: ImagesAndLabels) -> Iterator[tf.train.Example]:
        for image, label in zip(*pair, strict=True):
            example = tf.train.Example()
            feature = example.features.feature
            feature[features.LABEL].int64_list.value.append(int(label))
            getattr(feature[features.IMAGE], kind).value.extend(image.ravel().tolist())
            yield example

    return examples


def as_png(pair: ImagesAndLabels) -> Iterator[tf.train.Example]:
    """A PNG file: validation sees a string."""
    for image, label in zip(*pair, strict=True):
        example = tf.train.Example()
        feature = example.features.feature
        feature[features.LABEL].int64_list.value.append(int(label))
        png = tf.io.encode_png(image[..., None]).numpy()
        feature[features.IMAGE].bytes_list.value.append(png)
        yield example


WAYS = {
    "bytes and summaries": (as_bytes, FixedLen([], tf.string)),
    "784 int64": (as_numbers("int64_list"), FixedLen([784], tf.int64)),
    "784 float32": (as_numbers("float_list"), FixedLen([784], tf.float32)),
    "PNG": (as_png, FixedLen([], tf.string)),
}


def main(folder: Path) -> None:
    whole = idx_format.read_pair(*idx_format.find_pair(folder, "train-*"))
    pair = ImagesAndLabels(whole.images[:IMAGES], whole.labels[:IMAGES])
    table = Table(title=f"{len(pair.images):,} images in one gzipped TFRecord file")
    for heading in ("image as", "write", "statistics", "parse", "size"):
        table.add_column(heading, justify="right")
    with tempfile.TemporaryDirectory() as scratch:
        for name, (examples, spec) in WAYS.items():
            path = str(Path(scratch) / f"{name.replace(' ', '-')}.gz")
            started_s = time.perf_counter()
            with tf.io.TFRecordWriter(path, "GZIP") as writer:
                for example in examples(pair):
                    writer.write(example.SerializeToString())
            written_s = time.perf_counter()
            options = PipelineOptions([*BEAM_OPTIONS])
            tfdv.generate_statistics_from_tfrecord(path, pipeline_options=options)
            analysed_s = time.perf_counter()
            for batch in tf.data.TFRecordDataset(path, "GZIP").batch(256):
                tf.io.parse_example(batch, {features.IMAGE: spec})
            parsed_s = time.perf_counter()
            table.add_row(
                name,
                f"{written_s - started_s:.1f} s",
                f"{analysed_s - written_s:.1f} s",
                f"{parsed_s - analysed_s:.1f} s",
                f"{Path(path).stat().st_size / 1e6:.1f} MB",
            )
    Console().print(table)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else dataset_source.cache_folder())
