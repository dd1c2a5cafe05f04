"""The jackknife, against TFMA's estimate from the same samples and against known distributions."""

import numpy as np
import pytest
from tensorflow_model_analysis.api import types
from tensorflow_model_analysis.evaluators import confidence_intervals_util
from tensorflow_model_analysis.evaluators import jackknife as tfma
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.utils import math_util

from components.evaluation import jackknife
from components.evaluation.jackknife import SUBSETS


def _mean(sums: np.ndarray) -> float:
    return float(sums[1] / sums[0])


def _estimate_of_mean(
    values: np.ndarray, indices: np.ndarray
) -> types.ValueWithTDistribution | float:
    rows = np.column_stack([np.ones(len(values)), values])
    sums = jackknife.subset_sums(rows, indices)
    return jackknife.estimate(jackknife.leave_one_out(sums, _mean))


def test_the_estimate_is_that_of_tfma() -> None:
    rng = np.random.default_rng(1)
    key = metric_types.MetricKey("mean")
    values = rng.normal(size=1 + SUBSETS)
    combiner = tfma._JackknifeSampleCombineFn(SUBSETS)
    accumulator = combiner.create_accumulator()
    for sample_id, value in zip((tfma._FULL_SAMPLE_ID, *range(SUBSETS)), values, strict=True):
        sample = confidence_intervals_util.SampleMetrics({key: value}, sample_id)
        accumulator = combiner.add_input(accumulator, sample)
    expected = combiner.extract_output(accumulator)[key]
    assert jackknife.estimate(values) == pytest.approx(expected, rel=1e-12)


def test_the_interval_contains_the_mean_in_95_of_100_cases() -> None:
    rng = np.random.default_rng(1)
    indices = np.arange(500)
    hits = 0
    for _ in range(1000):
        found = _estimate_of_mean(rng.exponential(size=500), indices)
        assert isinstance(found, types.ValueWithTDistribution)
        _, low, high = math_util.calculate_confidence_interval(found)
        hits += low < 1 < high
    assert 0.93 < hits / 1000 < 0.97


def test_an_image_is_in_the_same_subset_whatever_is_summed_with_it() -> None:
    rng = np.random.default_rng(1)
    values, indices = rng.normal(size=(300, 2)), rng.permutation(10_000)[:300]
    together = jackknife.subset_sums(values, indices)
    parts = [
        jackknife.subset_sums(values[part], indices[part]) for part in (slice(7), slice(7, 300))
    ]
    np.testing.assert_allclose(sum(parts), together)
    assert together.shape == (SUBSETS, 2)
    copies = _estimate_of_mean(np.tile(values[:, 0], 4), np.tile(indices, 4))
    assert copies == pytest.approx(_estimate_of_mean(values[:, 0], indices)), "of images, not rows"


def test_the_subsets_do_not_depend_on_the_order_of_the_digits() -> None:
    """Also of a file that repeats the digits in turn, and of one that is sorted by digit."""
    indices = np.arange(20_000)
    for digits in (indices % 10, indices // 2000):
        counts = jackknife.subset_sums(np.eye(10)[digits], indices)
        chi_square = ((counts - 100) ** 2 / 100).sum()  # 190 degrees of freedom: 190 +- 19.5
        assert 130 < chi_square < 260


@pytest.mark.parametrize("count", [5, 10, 30])
def test_the_interval_of_few_images_is_wide_enough(count: int) -> None:
    """Some subsets are empty.

    If the degrees of freedom were always 19, 5 images would give 90 of 100 cases.
    """
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(1000):
        found = _estimate_of_mean(rng.normal(size=count), rng.permutation(10_000)[:count])
        assert isinstance(found, types.ValueWithTDistribution)
        _, low, high = math_util.calculate_confidence_interval(found)
        hits += low < 0 < high
    assert 0.93 < hits / 1000 < 0.97


def test_images_of_one_subset_have_no_interval() -> None:
    assert _estimate_of_mean(np.array([3.0]), np.array([5])) == 3
