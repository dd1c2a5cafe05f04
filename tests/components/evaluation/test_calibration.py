"""The expected calibration error, computed by hand; test_eval_config.py compares with TFMA."""

import numpy as np
import pytest

from components.evaluation.calibration import BINS, bin_sums, expected_calibration_error


def _probabilities(confidence: list[float], predicted: list[int]) -> np.ndarray:
    rows = np.array([[(1 - c) / 9] * 10 for c in confidence])
    rows[range(len(rows)), predicted] = confidence
    return rows


def test_the_value_equals_one_computed_by_hand() -> None:
    """Two bins: 0.91 and 0.93, of which one is right; 0.4 and 0.4, of which both are."""
    probabilities = _probabilities([0.91, 0.93, 0.4, 0.4], [1, 2, 3, 4])
    sums = bin_sums(probabilities, np.array([1, 5, 3, 4]))
    expected = 0.5 * abs(0.92 - 0.5) + 0.5 * abs(0.4 - 1)
    assert expected_calibration_error(sums) == pytest.approx(expected)


def test_opposite_errors_in_different_bins_do_not_cancel() -> None:
    probabilities = _probabilities([0.95, 0.55], [1, 2])
    sums = bin_sums(probabilities, np.array([0, 2]))
    assert expected_calibration_error(sums) == pytest.approx((0.95 + 0.45) / 2)


def test_sure_and_right_is_perfect_and_without_predictions_it_is_unknown() -> None:
    sums = bin_sums(np.eye(10), np.arange(10))
    assert sums[0].tolist() == [0] * (BINS - 1) + [10]
    assert expected_calibration_error(sums) == 0
    assert np.isnan(expected_calibration_error(np.zeros((3, BINS))))
