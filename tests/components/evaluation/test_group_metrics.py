"""The metrics on groups of examples, computed by hand; test_eval_config.py runs them in TFMA."""

import itertools
import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from google.protobuf import json_format
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.slicer import slicer_lib

from components.evaluation import group_metrics, jackknife, slices
from components.evaluation.example_groups import groups
from components.evaluation.group_metrics import (
    WORST,
    Accuracy,
    CrossEntropy,
    ExpectedCalibrationError,
    Group,
    IntervalMetric,
    WorstMistakes,
    WorstRows,
)
from components.evaluation.jackknife import SUBSETS
from pipeline.graph import eval_config
from pipeline.settings import pipeline_config


def _group(own: list[float], first_index: int = 0) -> Group:
    """Examples of class 1, with these probabilities for it; class 0 gets the rest."""
    probability = np.array(own)
    columns = [1 - probability, probability, np.zeros(len(own))]
    indices = np.arange(first_index, first_index + len(own))
    return Group(np.column_stack(columns), np.ones(len(own), int), indices)


def test_the_sums_of_two_groups_are_those_of_one() -> None:
    own = np.array([0.9, 0.4, 0.8, 0.7])
    both = _group(own.tolist())
    first, second = _group([0.9, 0.4]), _group([0.8, 0.7], first_index=2)
    for metric, expected in (
        (Accuracy, 0.75),
        (CrossEntropy, -np.log(own).mean()),
        # Four bins; the second answer is wrong, with a confidence of 0.6.
        (ExpectedCalibrationError, np.mean([0.1, 0.6, 0.2, 0.3])),
    ):
        values = metric.value(metric.sums(both))
        assert values[0] == pytest.approx(expected)
        in_two = metric.value(metric.sums(first) + metric.sums(second))
        np.testing.assert_allclose(in_two, values)


@pytest.mark.parametrize("metric", [Accuracy, CrossEntropy, ExpectedCalibrationError])
def test_a_metric_is_computed_without_each_subset(metric: type[IntervalMetric]) -> None:
    group = _group(np.random.default_rng(1).uniform(size=200).tolist())
    values = metric.value(metric.sums(group))
    assert values.shape == (1 + SUBSETS,)
    membership = jackknife.subset_sums(np.eye(200), group.indices)
    for without, members in zip(values[1:], membership, strict=True):
        rest = Group(*(column[members == 0] for column in group))
        assert metric.value(metric.sums(rest))[0] == pytest.approx(without)


def test_a_probability_of_zero_has_a_finite_loss() -> None:
    found = CrossEntropy.value(CrossEntropy.sums(_group([0.0])))
    assert found[0] == pytest.approx(-np.log(1e-7))


@pytest.mark.parametrize("size", [7, 200])
def test_the_worst_mistakes_are_kept_in_order(size: int) -> None:
    """Of many groups, and of a single one."""
    probabilities = np.linspace(0, 0.9, 200)
    shuffled = np.random.default_rng(1).permutation(probabilities).tolist()
    parts = [_group(shuffled[start : start + size], start) for start in range(0, 200, size)]
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
    of_slices = Counter(str(group[constants.SLICE_KEY_TYPES_KEY].tolist()) for group in found)
    assert sorted(of_slices.values()) == [1] * 11, "ten digits, and the translated images"
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


def test_tfma_finds_the_metrics_by_their_names_in_a_new_process() -> None:
    """There nothing has imported them: TFMA prefers its own metrics with the same names."""
    code = (
        "import sys\n"
        "from google.protobuf import json_format\n"
        "from tensorflow_model_analysis.metrics import metric_specs\n"
        "from tensorflow_model_analysis.proto import config_pb2\n"
        "from components.evaluation import example_groups\n"
        "config = json_format.Parse(sys.stdin.read(), config_pb2.EvalConfig())\n"
        "found = metric_specs.keys_and_metrics_from_specs(config, config.metrics_specs)\n"
        "print(*sorted(type(metric).__module__ for _, _, metric in found))\n"
    )
    settings = pipeline_config.load("local")
    config = eval_config.create(settings.evaluation, settings.robustness, "digest")
    del config.model_specs[1:]
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json_format.MessageToJson(config),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [group_metrics.__name__] * 7
