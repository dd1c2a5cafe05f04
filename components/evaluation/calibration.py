"""Expected calibration error. TFMA's own calibration metrics are for two classes only.

The difference between a model's confidence and its accuracy (C. Guo, G. Pleiss, Y. Sun and
K. Weinberger, *On Calibration of Modern Neural Networks*, 2017): predictions are put into bins by
their largest probability; in each bin, mean probability and accuracy are compared; the
differences are averaged, weighted by the number of predictions in a bin.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

BINS: Final = 15  # of equal width, as in the paper
# The axis of length 3 of the sums, in this order.
_COUNT, _CONFIDENCE, _CORRECT = range(3)


def expected_calibration_error(sums: NDArray[np.floating]) -> float:
    """The error, from the sums of each bin.

    Args:
      sums: float64 [3, bins]: the number of predictions, the sum of their confidences, and the
        number of correct ones.

    Returns:
      0 to 1; NaN without predictions.
    """
    count = sums[_COUNT].sum()
    return float(np.abs(sums[_CONFIDENCE] - sums[_CORRECT]).sum() / count) if count else np.nan


def bin_sums(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer]
) -> NDArray[np.float64]:
    """What `expected_calibration_error` takes: the sum of `rows_by_prediction`, [3, bins]."""
    return np.asarray(rows_by_prediction(probabilities, labels).sum(axis=0))


def rows_by_prediction(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer]
) -> NDArray[np.float64]:
    """What each prediction adds to the sums.

    Args:
      probabilities: [count, classes].
      labels: [count].

    Returns:
      float64 [count, 3, bins], 0 outside the bin of a prediction.
    """
    confidence = probabilities.max(axis=1)
    # The bins are open on the left, except the first.
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    is_correct = probabilities.argmax(axis=1) == labels
    values = np.zeros((len(labels), 3, BINS))
    values[np.arange(len(labels)), :, place] = np.column_stack(
        [np.ones(len(labels)), confidence, is_correct]
    )
    return values
