"""The corrected schema: changed values, unchanged values, and the written file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from components.images.idx_format import ImagesAndLabels
from components.images.idx_pair import make_examples
from pipeline.runs import schema_review
from pipeline.runs.workspace import Workspace
from pipeline.settings import pipeline_config
from pipeline.settings.errors import PipelineError

Statistics = Any  # statistics_pb2.DatasetFeatureStatisticsList
TEXT = pipeline_config.load().validation.schema_text


def _statistics(folder: Path, pair: ImagesAndLabels) -> Statistics:
    path = folder / "examples"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in make_examples(pair):
            writer.write(example.SerializeToString())
    schema = text_format.Parse(TEXT, schema_pb2.Schema())
    options = tfdv.StatsOptions(schema=schema)
    return tfdv.generate_statistics_from_tfrecord(str(path), stats_options=options)


def test_valid_data_changes_nothing(tmp_path: Path, test_digits: ImagesAndLabels) -> None:
    assert schema_review.corrected(TEXT, [_statistics(tmp_path, test_digits)]) == TEXT


def test_only_violated_bounds_change_and_comments_stay(
    tmp_path: Path, test_digits: ImagesAndLabels
) -> None:
    inverted = ImagesAndLabels(255 - test_digits.images, test_digits.labels)
    statistics = _statistics(tmp_path, inverted)
    after = schema_review.corrected(TEXT, [_statistics(tmp_path, test_digits), statistics])
    assert "# Below: a blank image. Above: an inverted image (black on white), whose" in after
    changed_lines = set(TEXT.splitlines()) ^ set(after.splitlines())
    assert len(changed_lines) == 2, "one line, before and after"
    before_schema = text_format.Parse(TEXT, schema_pb2.Schema())
    after_schema = text_format.Parse(after, schema_pb2.Schema())
    changed = {
        new.name: (old, new)
        for old, new in zip(before_schema.feature, after_schema.feature, strict=True)
        if old != new
    }
    assert set(changed) == {"pixel_mean"}
    old, new = changed["pixel_mean"]
    assert new.float_domain.min == old.float_domain.min
    mean = float((255 - test_digits.images).mean(axis=(1, 2)).max())
    assert new.float_domain.max == pytest.approx(mean, rel=1e-4)
    (dataset,) = [tfdv.validate_statistics(statistics, after_schema)]
    assert not dataset.anomaly_info, "what was asked for: it passes"


def test_a_diff_shows_the_lines(tmp_path: Path, test_digits: ImagesAndLabels) -> None:
    labels = np.where(np.arange(300) == 5, 12, test_digits.labels).astype(np.uint8)
    statistics = _statistics(tmp_path, ImagesAndLabels(test_digits.images, labels))
    after = schema_review.corrected(TEXT, [statistics])
    lines = schema_review.Review(TEXT, after, None, "").diff.splitlines()
    assert lines[:2] == ["--- reviewed", "+++ corrected"]
    changed = [line for line in lines[2:] if line.startswith(("-", "+"))]
    assert changed == [
        '-  int_domain { name: "label" min: 0 max: 9 is_categorical: true }',
        '+  int_domain { name: "label" min: 0 max: 12 is_categorical: true }',
    ]
    assert schema_review.Review(TEXT, TEXT, None, "").diff == ""


def test_a_file_is_not_overwritten_without_the_option(tmp_path: Path) -> None:
    path = tmp_path / "new.pbtxt"
    schema_review.write("first", path, overwrite=False)
    with pytest.raises(
        PipelineError, match="exists; choose another file, or overwrite it with --force"
    ):
        schema_review.write("second", path, overwrite=False)
    assert path.read_text() == "first"
    schema_review.write("second", path, overwrite=True)
    assert path.read_text() == "second"
    with pytest.raises(PipelineError, match="cannot write .*gone/x.pbtxt: No such file"):
        schema_review.write("third", tmp_path / "gone" / "x.pbtxt", overwrite=False)
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_comparison_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="contains no statistics of a run of mnist"):
        schema_review.review(pipeline_config.load(), Workspace(tmp_path))
