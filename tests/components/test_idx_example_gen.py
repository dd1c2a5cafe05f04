"""IdxExampleGen: the features of an example, the boundaries of the splits, the cache key."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Literal

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.testing.util import assert_that, equal_to
from tfx.components.example_gen import utils
from tfx.types import standard_component_specs as specs

from components import idx_example_gen
from components.idx_example_gen import Part
from components.images import idx_format
from components.images.idx_format import IdxReader
from pipeline.graph.beam import BEAM_OPTIONS
from trainer import features


def test_an_example_contains_the_pixels_and_their_summary() -> None:
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
        read = pipeline | idx_example_gen.ReadIdxPair(str(digits), "train-*", parts)
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
        pipeline | idx_example_gen.ReadIdxPair(str(folder), "train-*", [Part("train")])


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


@pytest.fixture
def spans(tmp_path: Path, digits: Path) -> Path:
    """Two spans; the second has a second version, with other labels."""
    for folder in ("span-7/version-1", "span-12/version-1", "span-12/version-2"):
        shutil.copytree(digits, tmp_path / folder)
    labels = tmp_path / "span-12" / "version-2" / "t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(idx_format.serialize(np.zeros(300, np.uint8)))
    return tmp_path


@pytest.mark.parametrize(
    ("span", "folder", "version"),
    [(7, "span-7/version-1", 1), (12, "span-12/version-2", 2), ("latest", "span-12/version-2", 2)],
)
def test_a_span_is_read_in_its_newest_version(
    spans: Path, digits: Path, span: int | Literal["latest"], folder: str, version: int
) -> None:
    component = idx_example_gen.IdxExampleGen(
        str(spans),
        0.25,
        span=span,
        span_folder="span-{SPAN}/version-{VERSION}",  # type: ignore[arg-type]
    )
    properties = dict(component.exec_properties)
    resolved = idx_example_gen.Driver(None).resolve_exec_properties(properties, None, None)
    assert resolved[utils.SPAN_PROPERTY_NAME] == (12 if span == "latest" else span)
    assert resolved[utils.VERSION_PROPERTY_NAME] == version
    first = _fingerprint(digits)
    assert (resolved[utils.FINGERPRINT_PROPERTY_NAME] == first) == (version == 1)

    def index(record: bytes) -> int:
        example = tf.train.Example.FromString(record)
        return int(example.features.feature[features.INDEX].int64_list.value[0])

    with beam.Pipeline(argv=[*BEAM_OPTIONS]) as pipeline:
        pattern = f"{folder}/t10k-*"
        read = pipeline | idx_example_gen.ReadIdxPair(str(spans), pattern, [Part("test")])
        assert_that(read["test"] | beam.Map(index), equal_to(range(300)))
