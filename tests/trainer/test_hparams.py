"""Recipes pass between containers as JSON; they are immutable and reject unknown keys."""

import pytest
from pydantic import ValidationError

from trainer.hparams import HyperParameters


def test_json_and_back() -> None:
    hparams = HyperParameters(train_images=100, pooling="average", dropout=0.25)
    assert HyperParameters.model_validate_json(hparams.model_dump_json()) == hparams


def test_the_defaults_are_the_reference_recipe() -> None:
    hparams = HyperParameters()
    assert (hparams.learning_rate, hparams.dropout) == (1e-3, 0.5)
    assert (hparams.batch_size, hparams.epochs, hparams.train_images) == (32, 5, "all")


@pytest.mark.parametrize(
    "values",
    [
        {"epoch": 3},
        {"epochs": 0},
        {"dropout": 1.0},
        {"pooling": "min"},
        {"train_images": 0},
        {"learning_rate": 0.0},
        {"batch_size": "32"},
    ],
)
def test_invalid_values_are_rejected(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        HyperParameters.model_validate(values)
