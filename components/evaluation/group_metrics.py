"""TFMA's metrics on groups of images (`example_groups.py`): sums over arrays.

TFMA looks a metric up by the name of its class, and imports the configured module only if it knows
no class of this name. The names therefore differ from those of TFMA's own metrics.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final, NamedTuple

import apache_beam as beam
import numpy as np
from numpy.typing import NDArray
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.proto import metrics_for_slice_pb2

from components.evaluation import calibration, jackknife
from components.evaluation.jackknife import Floats
from trainer import features

WORST: Final = 50  # mistakes that are listed
_SMALLEST_PROBABILITY: Final = 1e-7  # as Keras' cross-entropy
# Labels and predictions are always included.
_INPUTS: Final[dict[str, Any]] = {constants.FEATURES_KEY: {features.INDEX: {}}}


class Group(NamedTuple):
    """Some examples, and the answers of one model."""

    probabilities: Floats
    """[count, classes]"""

    labels: NDArray[np.integer]
    """[count]"""

    indices: NDArray[np.integer]
    """[count], positions in the IDX file."""

    @property
    def is_correct(self) -> NDArray[np.bool_]:
        """Whether the largest probability is that of the label: [count]."""
        return np.asarray(self.probabilities.argmax(axis=1) == self.labels)

    @property
    def own(self) -> Floats:
        """The probabilities of the labels: [count]."""
        return np.asarray(self.probabilities[np.arange(len(self.labels)), self.labels])


class GroupMetric(metric_types.Metric):  # type: ignore[misc]
    """A metric that is a function of sums over groups.

    Args:
      name: the name in TFMA's results.
      code_digest: the digest of the evaluation code, which makes an edit part of the Evaluator's
        cache key; not used.
    """

    key_type: ClassVar[type[metric_types.MetricKey]] = metric_types.MetricKey
    last_computations: ClassVar[metric_types.MetricComputations] = []
    """What TFMA does at the end, after it has subtracted the metrics of two models."""

    def __init__(self, name: str, code_digest: str = ""):
        del code_digest
        metric = type(self)

        def computations(
            name: str, model_name: str = "", output_name: str = "", example_weighted: bool = False
        ) -> metric_types.MetricComputations:
            key = metric.key_type(
                name, model_name, output_name=output_name, example_weighted=example_weighted
            )
            inputs = [metric_types.StandardMetricInputsPreprocessor(_INPUTS)]
            combination = metric_types.MetricComputation([key], inputs, _Combiner(metric, key))
            return [combination, *metric.last_computations]

        super().__init__(metric_util.merge_per_key_computations(computations), name=name)

    @staticmethod
    def sums(group: Group) -> Any:
        """What is summed: a value that supports addition with 0.0 and with its own type."""
        raise NotImplementedError

    @staticmethod
    def value(sums: Any) -> object:
        """The metric, from the sum over all groups."""
        raise NotImplementedError


def _estimates(
    metrics: Mapping[metric_types.MetricKey, Any],
) -> dict[metric_types.MetricKey, Any]:
    """The value and interval of each array: of each `IntervalMetric`, and of each difference."""
    return {
        key: jackknife.estimate(value)
        for key, value in metrics.items()
        if isinstance(value, np.ndarray)
    }


class IntervalMetric(GroupMetric):
    """A metric with an interval; the first axis of its sums is that of the subsets."""

    # Once for all metrics: to TFMA, all computations without keys are the same.
    last_computations = [metric_types.CIDerivedMetricComputation([], _estimates)]  # noqa: RUF012

    @classmethod
    def value(cls, sums: Floats) -> NDArray[np.float64]:
        """The metric on all examples, and without each subset: [1 + SUBSETS].

        `_estimates` turns it into a value with an interval.
        """
        return jackknife.leave_one_out(sums, cls.point_estimate)

    @staticmethod
    def point_estimate(sums: Any) -> float:
        """The metric, from the sum over examples; NaN without examples."""
        raise NotImplementedError


class Mean(IntervalMetric):
    """The mean of a value of each example."""

    @classmethod
    def sums(cls, group: Group) -> Floats:
        """The number of examples and the sum of their values, by subset: [SUBSETS, 2]."""
        rows: Floats = np.column_stack([np.ones(len(group.labels)), cls.values(group)])
        return jackknife.subset_sums(rows, group.indices)

    @staticmethod
    def values(group: Group) -> Floats | NDArray[np.bool_]:
        """The values whose mean is the metric: [count]."""
        raise NotImplementedError

    @staticmethod
    def point_estimate(sums: Floats) -> float:
        """From [2]: the number of examples, the sum of their values."""
        return float(sums[1] / sums[0])


class _Combiner(beam.CombineFn):  # type: ignore[misc]
    def __init__(self, metric: type[GroupMetric], key: metric_types.MetricKey):
        self._metric = metric
        self._key = key

    def create_accumulator(self) -> Any:
        return 0.0

    def add_input(self, accumulator: Any, element: metric_types.StandardMetricInputs) -> Any:
        group = Group(
            self._of_model(element.prediction),
            np.ravel(self._of_model(element.label)),
            np.ravel(element.features[features.INDEX]),
        )
        return accumulator + self._metric.sums(group)

    def _of_model(self, values: Any) -> Any:
        """TFMA has values by model if there are several."""
        return values[self._key.model_name] if isinstance(values, Mapping) else values

    def merge_accumulators(self, accumulators: Iterable[Any]) -> Any:
        return sum(accumulators, start=0.0)

    def extract_output(self, accumulator: Any) -> dict[metric_types.MetricKey, object]:
        return {self._key: self._metric.value(accumulator)}


class NumberOfExamples(GroupMetric):
    """The number of examples."""

    @staticmethod
    def sums(group: Group) -> float:
        """The number of examples."""
        return float(len(group.labels))

    @staticmethod
    def value(sums: float) -> float:
        """1 or more."""
        return sums


class Accuracy(Mean):
    """The share of examples whose largest probability is that of their label: 0 to 1."""

    @staticmethod
    def values(group: Group) -> NDArray[np.bool_]:
        """Whether the answer is correct: [count]."""
        return group.is_correct


class CrossEntropy(Mean):
    """The mean of -log(probability of the label): 0 or more."""

    @staticmethod
    def values(group: Group) -> Floats:
        """The losses: [count]."""
        own = np.clip(group.own.astype(float), _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)
        return np.asarray(-np.log(own))


class ExpectedCalibrationError(IntervalMetric):
    """See `calibration.py`: 0 to 1."""

    @staticmethod
    def sums(group: Group) -> Floats:
        """The sums of the bins: [SUBSETS, 3, bins]."""
        rows = calibration.rows_by_prediction(group.probabilities, group.labels)
        return jackknife.subset_sums(rows, group.indices)

    @staticmethod
    def point_estimate(sums: Floats) -> float:
        """From [3, bins]."""
        return calibration.expected_calibration_error(sums)


class CalibrationBins(GroupMetric):
    """What the calibration error is computed from."""

    @staticmethod
    def sums(group: Group) -> NDArray[np.float64]:
        """See `calibration.bin_sums`."""
        return calibration.bin_sums(group.probabilities, group.labels)

    @staticmethod
    def value(sums: NDArray[np.float64]) -> bytes:
        """JSON: the rows and columns of `calibration.bin_sums`."""
        return json.dumps(sums.tolist()).encode()


class WorstMistakes(GroupMetric):
    """The wrong examples with the lowest probability of their label."""

    @staticmethod
    def sums(group: Group) -> WorstRows:
        """The wrong examples."""
        wrong = ~group.is_correct
        columns = group.own, group.indices, group.labels, group.probabilities
        return WorstRows(np.column_stack([column[wrong] for column in columns]))

    @staticmethod
    def value(sums: WorstRows | float) -> bytes:
        """JSON: [index, label, [probability of each class]] of each, worst first."""
        rows = sums.rows.tolist() if isinstance(sums, WorstRows) else []
        mistakes = [[int(index), int(label), found] for _, index, label, *found in rows]
        return json.dumps(mistakes).encode()


class WorstRows:
    """At most WORST of the rows, by their first column and then by their second one, in order.

    The sum of two is the worst of both.
    """

    def __init__(self, rows: Floats):
        self.rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))[:WORST]]

    def __add__(self, other: object) -> WorstRows:
        if not isinstance(other, WorstRows):
            return self
        return WorstRows(np.concatenate([self.rows, other.rows]))

    __radd__ = __add__


class ConfusionMatrix(GroupMetric):
    """The number of examples by true and predicted digit, as a plot of TFMA."""

    key_type = metric_types.PlotKey

    @staticmethod
    def sums(group: Group) -> Floats:
        """[classes, classes]."""
        matrix = np.zeros((features.NUM_CLASSES, features.NUM_CLASSES))
        np.add.at(matrix, (group.labels, group.probabilities.argmax(axis=1)), 1)
        return matrix

    @staticmethod
    def value(sums: Floats) -> metrics_for_slice_pb2.MultiClassConfusionMatrixAtThresholds:
        """The entries that are not 0."""
        plot = metrics_for_slice_pb2.MultiClassConfusionMatrixAtThresholds()
        matrix = plot.matrices.add(threshold=0.0)
        for actual, predicted in zip(*map(np.ndarray.tolist, np.nonzero(sums)), strict=True):
            matrix.entries.add(
                actual_class_id=actual,
                predicted_class_id=predicted,
                num_weighted_examples=sums[actual, predicted],
            )
        return plot


for _metric in (
    *(NumberOfExamples, Accuracy, CrossEntropy, ExpectedCalibrationError),
    *(CalibrationBins, WorstMistakes, ConfusionMatrix),
):
    metric_types.register_metric(_metric)
