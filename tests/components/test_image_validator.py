"""Duplicates, and labels that do not match their images: the measures and the anomalies."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doubles import artifacts
from tfx.types import standard_artifacts

from components import image_validator
from components.image_validator import ImageValidator
from components.images.idx_format import ImagesAndLabels
from components.validation import anomalies as recorded_anomalies
from components.validation.anomalies import Check
from trainer import tf_data

Splits = dict[str, ImagesAndLabels]


@pytest.fixture(autouse=True, params=[64, 4096])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks in a split, and one."""
    monkeypatch.setattr(tf_data, "_BATCH", request.param)


@pytest.fixture
def splits(train_digits: ImagesAndLabels, test_digits: ImagesAndLabels) -> Splits:
    return {
        "train": ImagesAndLabels(train_digits.images[:450], train_digits.labels[:450]),
        "eval": ImagesAndLabels(train_digits.images[450:], train_digits.labels[450:]),
        "test": test_digits,
    }


def _validate(
    folder: Path,
    examples: standard_artifacts.Examples,
    earlier: standard_artifacts.Examples | None = None,
    **limits: float,
) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """The anomalies and the measures."""
    anomalies = standard_artifacts.ExampleAnomalies()
    anomalies.uri = str(folder / "anomalies")
    ImageValidator.EXECUTOR_SPEC.executor_class().Do(
        {
            "examples": [examples],
            "window": [earlier, examples] if earlier else [examples],
            "reference": [earlier or examples],
        },
        {"anomalies": [anomalies]},
        {"max_duplicates": 0, "min_label_agreement": 0.6, "code_digest": "", **limits},
    )
    found = [str(anomaly) for anomaly in recorded_anomalies.read(anomalies, Check.IMAGES)]
    return found, json.loads((folder / "anomalies" / "measures.json").read_text())


def test_good_digits_have_no_anomalies(tmp_path: Path, splits: Splits) -> None:
    found, measures = _validate(tmp_path, artifacts.examples(tmp_path / "examples", splits))
    assert found == []
    assert measures["duplicates"] == {"eval": 0, "test": 0}
    assert set(measures["label_agreement"]) == {"train", "eval", "test"}
    assert all(0.7 < share < 0.9 for share in measures["label_agreement"].values())


def _with_copies(splits: Splits) -> Splits:
    """The test split with copies of three training images."""
    images = splits["test"].images.copy()
    images[[7, 20, 299]] = splits["train"].images[[1, 2, 3]]
    return {**splits, "test": ImagesAndLabels(images, splits["test"].labels)}


def test_copies_are_counted_and_named(tmp_path: Path, splits: Splits) -> None:
    examples = artifacts.examples(tmp_path / "examples", _with_copies(splits))
    found, measures = _validate(tmp_path, examples, min_label_agreement=0)
    assert found == [
        "images and labels: test, image: 3 duplicates of training images (indices 7, 20, 299); "
        "the limit is 0"
    ]
    assert measures["duplicates"] == {"eval": 0, "test": 3}
    found, _ = _validate(tmp_path / "few", examples, max_duplicates=3, min_label_agreement=0)
    assert found == []
    found, measures = _validate(
        tmp_path / "any", examples, max_duplicates=image_validator.NO_LIMIT, min_label_agreement=0
    )
    assert found == []
    assert measures["duplicates"]["test"] == 3


def test_copies_of_an_earlier_spans_training_images_count(tmp_path: Path, splits: Splits) -> None:
    half = {
        **splits,
        "train": ImagesAndLabels(splits["train"].images[225:], splits["train"].labels[225:]),
    }
    examples = artifacts.examples(tmp_path / "now", {**half, "test": _with_copies(splits)["test"]})
    assert _validate(tmp_path / "a", examples)[1]["duplicates"]["test"] == 0
    earlier = artifacts.examples(tmp_path / "before", splits, artifact_id=2)
    assert _validate(tmp_path / "b", examples, earlier)[1]["duplicates"]["test"] == 3


def test_labels_shifted_by_one_image_are_stopped(tmp_path: Path, splits: Splits) -> None:
    """The class shares do not change."""
    test = splits["test"]
    shifted = {**splits, "test": ImagesAndLabels(test.images, np.roll(test.labels, 1))}
    found, measures = _validate(tmp_path, artifacts.examples(tmp_path / "examples", shifted))
    assert len(found) == 1
    assert found[0].startswith("images and labels: test, label: 0.1")
    assert "; the minimum is 0.6. Check whether the label file" in found[0]
    assert measures["label_agreement"]["train"] > 0.7


def test_labels_renumbered_in_both_splits_are_stopped(tmp_path: Path, splits: Splits) -> None:
    renumbered = {
        name: ImagesAndLabels(pair.images, ((pair.labels + 1) % 10).astype(np.uint8))
        for name, pair in splits.items()
    }
    examples = artifacts.examples(tmp_path / "now", renumbered, artifact_id=2)
    assert _validate(tmp_path / "a", examples)[0] == [], "within itself it is consistent"
    found, measures = _validate(
        tmp_path / "b", examples, artifacts.examples(tmp_path / "before", splits)
    )
    labels = [anomaly for anomaly in found if ", label: " in anomaly]
    assert len(labels) == 3
    assert max(share or 0 for share in measures["label_agreement"].values()) < 0.2


def test_images_of_another_size_are_left_to_the_schema(tmp_path: Path, splits: Splits) -> None:
    cropped = {
        **splits,
        "test": ImagesAndLabels(splits["test"].images[:, 1:], splits["test"].labels),
    }
    found, measures = _validate(tmp_path, artifacts.examples(tmp_path / "examples", cropped))
    assert found == []
    assert measures["label_agreement"]["test"] is None
