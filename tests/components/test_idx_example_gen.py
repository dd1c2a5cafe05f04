"""IdxExampleGen: the cache key, and the spans."""

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
from components.images import idx_format, idx_pair
from pipeline.graph.beam import BEAM_OPTIONS
from trainer import features


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
        read = pipeline | idx_pair.ReadIdxPair(str(spans), pattern, [idx_pair.Part("test")])
        assert_that(read["test"] | beam.Map(index), equal_to(range(300)))
