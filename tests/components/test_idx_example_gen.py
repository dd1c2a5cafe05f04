"""IdxExampleGen: what an example holds, how the splits are cut, what the cache goes by."""

import os
import shutil
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.testing.util import assert_that, equal_to
from tfx.components.example_gen import utils
from tfx.types import standard_component_specs as specs

from components import idx_example_gen, idx_format
from pipeline.runners.local import BEAM_RUNNER
from trainer import features


def test_an_example_holds_the_pixels_and_what_validation_sees_of_them() -> None:
    images = np.zeros((2, 28, 28), np.uint8)
    images[1] = 10
    images[1, 0, :4] = [0, 255, 100, 19]
    labels = np.array([3, 7], np.uint8)
    pair = idx_format.ImagesAndLabels(images, labels)
    _, example = idx_example_gen.make_examples(pair)
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


def test_train_and_eval_share_a_pair_without_overlap(digits: Path) -> None:
    def index(record: bytes) -> int:
        example = tf.train.Example.FromString(record)
        return int(example.features.feature[features.INDEX].int64_list.value[0])

    with beam.Pipeline(argv=[BEAM_RUNNER]) as pipeline:
        for label, bounds, expected in (
            ("train", (0.0, 0.75), range(450)),
            ("eval", (0.75, 1.0), range(450, 600)),
        ):
            read = idx_example_gen.ReadIdxPair(str(digits), "train-*", *bounds)
            found = pipeline | f"read {label}" >> read | f"index {label}" >> beam.Map(index)
            assert_that(found, equal_to(expected), label=f"check {label}")


def test_a_damaged_file_ends_the_beam_job_with_the_reason(tmp_path: Path, digits: Path) -> None:
    folder = Path(shutil.copytree(digits, tmp_path / "copy"))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(idx_format.serialize(np.zeros(5, np.uint8)))
    with (
        pytest.raises(Exception, match="600 images and .* has 5 labels"),
        beam.Pipeline(argv=[BEAM_RUNNER]) as pipeline,
    ):
        pipeline | idx_example_gen.ReadIdxPair(str(folder), "train-*")


def _fingerprint(folder: Path) -> str:
    component = idx_example_gen.IdxExampleGen(str(folder), eval_fraction=0.25)
    resolved = idx_example_gen.Driver(None).resolve_exec_properties(
        dict(component.exec_properties), None, None
    )
    assert resolved[specs.INPUT_BASE_KEY] == str(folder)
    return str(resolved[utils.FINGERPRINT_PROPERTY_NAME])


def test_the_fingerprint_follows_the_content_and_not_the_times(
    tmp_path: Path, digits: Path
) -> None:
    folder = Path(shutil.copytree(digits, tmp_path / "copy"))
    first = _fingerprint(folder)
    labels = folder / "t10k-labels-idx1-ubyte.gz"
    os.utime(labels, (1, 1))
    assert _fingerprint(folder) == first
    labels.write_bytes(idx_format.serialize(np.zeros(300, np.uint8)))
    assert _fingerprint(folder) != first
