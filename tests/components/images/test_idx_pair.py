"""Pairs of IDX files: the features of an example, the boundaries of the splits, damaged files."""

import hashlib
import json
import shutil
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.testing.util import assert_that, equal_to

from components.images import idx_format, idx_pair
from components.images.idx_format import IdxReader
from components.images.idx_pair import Part
from pipeline.graph.beam import BEAM_OPTIONS
from trainer import features


def test_an_example_contains_the_pixels_and_their_summary() -> None:
    images = np.zeros((2, 28, 28), np.uint8)
    images[1] = 10
    images[1, 0, :4] = [0, 255, 100, 19]
    labels = np.array([3, 7], np.uint8)
    pair = idx_format.ImagesAndLabels(images, labels)
    _, example = idx_pair.make_examples(pair)
    feature = example.features.feature
    assert feature[features.IMAGE].bytes_list.value[0] == images[1].tobytes()
    assert feature[features.LABEL].int64_list.value == [7]
    assert feature[features.INDEX].int64_list.value == [1]
    assert feature[features.IMAGE_HEIGHT_PX].int64_list.value == [28]
    assert feature[features.IMAGE_WIDTH_PX].int64_list.value == [28]
    assert feature[features.PIXEL_MIN].int64_list.value == [0]
    assert feature[features.PIXEL_MAX].int64_list.value == [255]
    mean = (780 * 10 + 0 + 255 + 100 + 19) / 784
    assert feature[features.PIXEL_MEAN].float_list.value[0] == pytest.approx(mean)


@pytest.mark.parametrize("block", [1, 256, 1024])
def test_train_and_eval_share_a_pair_without_overlap(
    digits: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = IdxReader.blocks
    monkeypatch.setattr(IdxReader, "blocks", lambda reader: blocks(reader, block))

    def index(record: bytes) -> int:
        example = tf.train.Example.FromString(record)
        return int(example.features.feature[features.INDEX].int64_list.value[0])

    with beam.Pipeline(argv=[*BEAM_OPTIONS]) as pipeline:
        parts = [Part("train", 0.0, 0.75), Part("eval", 0.75, 1.0)]
        read = pipeline | idx_pair.ReadIdxPair(str(digits), "train-*", parts)
        for name, expected in (("train", range(450)), ("eval", range(450, 600))):
            found = read[name] | f"index {name}" >> beam.Map(index)
            assert_that(found, equal_to(expected), label=f"check {name}")
        files = [f"train-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")]
        lines = [
            json.dumps([name, hashlib.sha256((digits / name).read_bytes()).hexdigest()])
            for name in files
        ]
        assert_that(read["digests"], equal_to(lines), label="check digests")


def test_a_damaged_file_ends_the_beam_job_with_the_reason(tmp_path: Path, digits: Path) -> None:
    folder = Path(shutil.copytree(digits, tmp_path / "copy"))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(idx_format.serialize(np.zeros(5, np.uint8)))
    with (
        pytest.raises(Exception, match="600 images, but .* contains 5 labels"),
        beam.Pipeline(argv=[*BEAM_OPTIONS]) as pipeline,
    ):
        pipeline | idx_pair.ReadIdxPair(str(folder), "train-*", [Part("train")])
