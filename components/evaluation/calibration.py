"""Expected calibration error, as a metric of TFMA, whose own are for two classes only.

The difference between a model's confidence and its accuracy (C. Guo, G. Pleiss, Y. Sun and
K. Weinberger, *On Calibration of Modern Neural Networks*, 2017): predictions are put into bins by
their largest probability; in each bin, mean probability and accuracy are compared; the
differences are averaged, weighted by the number of predictions in a bin.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import apache_beam as beam
import numpy as np
from numpy.typing import NDArray
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.proto import config_pb2

from components.evaluation import metrics

BINS: Final = 15  # of equal width, as in the paper
# The rows of what is summed for each bin.
_COUNT, _CONFIDENCE, _CORRECT = range(3)


def expected_calibration_error(sums: NDArray[np.float64]) -> float:
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
    """The sums that `expected_calibration_error` takes.

    Args:
      probabilities: [count, classes].
      labels: [count].
    """
    confidence = probabilities.max(axis=1)
    # The bins are open on the left, except the first.
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    sums = np.zeros((3, BINS))
    np.add.at(sums[_COUNT], place, 1)
    np.add.at(sums[_CONFIDENCE], place, confidence)
    np.add.at(sums[_CORRECT], place, probabilities.argmax(axis=1) == labels)
    return sums


class ExpectedCalibrationError(metric_types.Metric):  # type: ignore[misc]
    """TFMA's metric: one number for each slice, 0 to 1; 0 is best.

    Args:
      name: the name in TFMA's results.
      code_digest: the digest of this metric's code, which makes an edit part of the Evaluator's
        cache key; not used.
    """

    def __init__(self, name: str = metrics.CALIBRATION_ERROR, code_digest: str = ""):
        del code_digest
        super().__init__(metric_util.merge_per_key_computations(_computations), name=name)


metric_types.register_metric(ExpectedCalibrationError)


def _computations(
    name: str,
    eval_config: config_pb2.EvalConfig | None = None,
    model_name: str = "",
    output_name: str = "",
    example_weighted: bool = False,
) -> metric_types.MetricComputations:
    key = metric_types.MetricKey(
        name=name,
        model_name=model_name,
        output_name=output_name,
        example_weighted=example_weighted,
    )
    combiner = _Combiner(key, eval_config)
    return [metric_types.MetricComputation(keys=[key], preprocessors=None, combiner=combiner)]


class _Combiner(beam.CombineFn):  # type: ignore[misc]
    def __init__(self, key: metric_types.MetricKey, eval_config: config_pb2.EvalConfig | None):
        self._key = key
        self._eval_config = eval_config

    def create_accumulator(self) -> NDArray[np.float64]:
        return np.zeros((3, BINS))

    def add_input(
        self, accumulator: NDArray[np.float64], element: metric_types.StandardMetricInputs
    ) -> NDArray[np.float64]:
        rows = metric_util.to_label_prediction_example_weight(
            element,
            eval_config=self._eval_config,
            model_name=self._key.model_name,
            output_name=self._key.output_name,
            flatten=False,
        )
        for label, probabilities, _ in rows:
            row = np.reshape(probabilities, (1, -1))
            accumulator = accumulator + bin_sums(row, np.ravel(label))
        return accumulator

    def merge_accumulators(
        self, accumulators: Iterable[NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        merged: NDArray[np.float64] = np.sum(list(accumulators), axis=0)
        return merged

    def extract_output(
        self, accumulator: NDArray[np.float64]
    ) -> dict[metric_types.MetricKey, float]:
        return {self._key: expected_calibration_error(accumulator)}
