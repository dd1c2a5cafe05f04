"""The metrics on groups of examples, computed by hand; test_eval_config.py runs them in TFMA."""

import itertools
import json

import numpy as np
import pytest
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.slicer import slicer_lib

from components.evaluation import slices
from components.evaluation.example_groups import groups
from components.evaluation.group_metrics import (
    WORST,
    Accuracy,
    CrossEntropy,
    Group,
    WorstMistakes,
    WorstRows,
)


def _group(own: list[float], first_index: int = 0) -> Group:
    """Examples of class 1, with these probabilities for it; class 0 gets the rest."""
    probability = np.array(own)
    columns = [1 - probability, probability, np.zeros(len(own))]
    indices = np.arange(first_index, first_index + len(own))
    return Group(np.column_stack(columns), np.ones(len(own), int), indices)


def test_the_sums_of_two_groups_are_those_of_one() -> None:
    both = _group([0.9, 0.4, 0.8, 0.7])
    loss = -np.log([0.9, 0.4, 0.8, 0.7]).mean()
    first, second = _group([0.9, 0.4]), _group([0.8, 0.7])
    for metric, expected in (
        (Accuracy, 0.75),
        (CrossEntropy, loss),
    ):
        assert metric.value(metric.sums(both)) == pytest.approx(expected)
        assert metric.value(metric.sums(first) + metric.sums(second)) == pytest.approx(expected)


def test_a_probability_of_zero_has_a_finite_loss() -> None:
    assert CrossEntropy.value(CrossEntropy.sums(_group([0.0]))) == pytest.approx(-np.log(1e-7))


def test_the_worst_mistakes_of_many_groups_are_kept_in_order() -> None:
    probabilities = np.linspace(0, 0.9, 200)
    shuffled = np.random.default_rng(1).permutation(probabilities).tolist()
    parts = [_group(shuffled[start : start + 7], start) for start in range(0, 200, 7)]
    kept = sum(map(WorstMistakes.sums, parts), start=0.0)
    assert isinstance(kept, WorstRows)
    found = json.loads(WorstMistakes.value(kept))
    assert [row[2][1] for row in found] == pytest.approx(probabilities[:WORST])
    assert all(shuffled[index] == row[1] and label == 1 for index, label, row in found)
    assert json.loads(WorstMistakes.value(WorstMistakes.sums(_group([0.9])))) == []
    assert json.loads(WorstMistakes.value(0.0)) == []


def test_groups_are_in_the_same_slices_and_contain_each_example_once() -> None:
    """1,000 clean images of ten digits, and 1,000 that are translated."""

    specs = (slices.ALL_DIGITS, slices.EACH_DIGIT, slices.EACH_STRENGTH, slices.EACH_DIRECTION)
    slicing = [slicer_lib.SingleSliceSpec(spec=spec) for spec in specs]
    index = np.arange(2000).reshape(-1, 1)
    is_clean = index < 1000
    batch = {
        constants.FEATURES_KEY: {
            "index": index,
            "label": index % 10,
            "corruption": np.where(is_clean, b"identity", b"translate"),
            "strength": np.where(is_clean, 0, 1),
            "direction": np.where(is_clean, b"", b"left"),
        },
        constants.LABELS_KEY: index % 10,
        constants.PREDICTIONS_KEY: {"probabilities": np.tile(index, 10), "predicted_class": index},
    }
    found = list(groups(batch, slicing))
    indices = [group[constants.FEATURES_KEY]["index"].ravel().tolist() for group in found]
    assert sorted(itertools.chain(*indices)) == index.ravel().tolist()
    assert len(found) < 400
    for group, rows in zip(found, indices, strict=True):
        keys = set(group[constants.SLICE_KEY_TYPES_KEY].tolist())
        clean = {(("corruption", "identity"),), (("corruption", "identity"), ("strength", 0))}
        if rows[0] < 1000:
            assert keys == {*clean, (("corruption", "identity"), ("label", rows[0] % 10))}
            assert {row % 10 for row in rows} == {rows[0] % 10}
        else:
            assert len(keys) == 2
        assert all(row < 1000 for row in rows) == (rows[0] < 1000)
        np.testing.assert_array_equal(group[constants.PREDICTIONS_KEY][:, 0], rows)
