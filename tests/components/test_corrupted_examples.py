"""The Evaluator's input: the complete test split, and its corrupted sample."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from doubles import artifacts
from tfx.types import artifact_utils, standard_artifacts

from components.corrupted_examples import CorruptedExamples
from components.evaluation import slice_features
from components.images import corruptions
from components.images.idx_format import ImagesAndLabels
from trainer import features

STRENGTHS = {"translate": [1, 2], "shot_noise": [5]}
Row = tuple[str, int, str, int, int, bytes]  # corruption, strength, direction, index, label, pixels


def _write(folder: Path, examples: standard_artifacts.Examples, seed: int) -> dict[str, list[Row]]:
    corrupted = standard_artifacts.Examples()
    corrupted.uri = str(folder)
    parameters = {
        "images": 20,
        "seed": seed,
        "strengths_json": json.dumps(STRENGTHS),
        "code_digest": "",
    }
    executor = CorruptedExamples.EXECUTOR_SPEC.executor_class()
    executor.Do({"examples": [examples]}, {"corrupted": [corrupted]}, parameters)
    return {
        split: _read(artifact_utils.get_split_uri([corrupted], split))
        for split in artifact_utils.decode_split_names(corrupted.split_names)
    }


def _read(folder: str) -> list[Row]:
    rows = []
    paths = [str(path) for path in Path(folder).iterdir()]
    for record in tf.data.TFRecordDataset(paths, "GZIP").as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        rows.append(
            (
                feature[slice_features.CORRUPTION].bytes_list.value[0].decode(),
                feature[slice_features.STRENGTH].int64_list.value[0],
                feature[slice_features.DIRECTION].bytes_list.value[0].decode(),
                feature[features.INDEX].int64_list.value[0],
                feature[features.LABEL].int64_list.value[0],
                feature[features.IMAGE].bytes_list.value[0],
            )
        )
    return rows


@pytest.fixture(scope="module")
def examples(
    tmp_path_factory: pytest.TempPathFactory, test_digits: ImagesAndLabels
) -> standard_artifacts.Examples:
    return artifacts.examples(tmp_path_factory.mktemp("examples"), {"test": test_digits})


def test_the_test_split_is_complete_and_unchanged(
    tmp_path: Path, examples: standard_artifacts.Examples, test_digits: ImagesAndLabels
) -> None:
    rows = _write(tmp_path, examples, seed=1)["test"]
    assert [row[:5] for row in rows] == [
        ("identity", 0, "", index, int(label)) for index, label in enumerate(test_digits.labels)
    ]
    assert [row[5] for row in rows] == [image.tobytes() for image in test_digits.images]


def test_the_same_sample_is_corrupted_in_every_way(
    tmp_path: Path, examples: standard_artifacts.Examples, test_digits: ImagesAndLabels
) -> None:
    rows = _write(tmp_path, examples, seed=1)["corrupted"]
    expected = {
        ("translate", pixels, direction): 20
        for pixels in (1, 2)
        for direction in corruptions.DIRECTIONS
    }
    assert Counter(row[:3] for row in rows) == {**expected, ("shot_noise", 5, ""): 20}
    chosen = {row[3] for row in rows}
    assert len(chosen) == 20
    for name, strength, direction, index, label, pixels in rows:
        assert label == test_digits.labels[index]
        if name == "translate":
            image = test_digits.images[index][np.newaxis]
            assert pixels == corruptions.shift(image, direction, strength).tobytes()


def test_the_seed_selects_the_images(tmp_path: Path, examples: standard_artifacts.Examples) -> None:
    first, again, other = (
        _write(tmp_path / name, examples, seed)["corrupted"]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == again
    assert {row[3] for row in first} != {row[3] for row in other}
