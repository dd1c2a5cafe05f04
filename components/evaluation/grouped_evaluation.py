"""TFMA on groups of examples: an extractor that makes the groups, and metrics that take them.

TFMA makes an element of each example, which costs more than the inference of this network. Here an
element is a group of examples that are in the same slices, and the metrics are sums over arrays.
TFX's Evaluator finds the extractors by the name `custom_extractors`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

import apache_beam as beam
import numpy as np
from numpy.typing import NDArray
from tensorflow_model_analysis import constants, types
from tensorflow_model_analysis.extractors import (
    extractor,
    features_extractor,
    labels_extractor,
    predictions_extractor,
    slice_key_extractor,
)
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.proto import config_pb2, metrics_for_slice_pb2
from tensorflow_model_analysis.slicer import slicer_lib

from components.evaluation import calibration
from trainer import features

_GROUP_SIZE: Final = 10
# The jackknife puts whole groups into its 20 subsets, so there must be more groups than subsets.
_GROUPS_PER_BATCH: Final = 20
_SMALLEST_PROBABILITY: Final = 1e-7  # as Keras' cross-entropy

Floats = NDArray[np.floating]
Integers = NDArray[np.integer]


def custom_extractors(
    eval_shared_model: Any, eval_config: config_pb2.EvalConfig, tensor_adapter_config: Any
) -> list[extractor.Extractor]:
    """TFMA's extractors for features, labels and predictions; then batches are split into groups.

    Args:
      eval_shared_model: the model; a list if there is a champion.
      eval_config: TFMA's configuration.
      tensor_adapter_config: None; the Evaluator has no schema.
    """
    del tensor_adapter_config
    slicing = [slicer_lib.SingleSliceSpec(spec=spec) for spec in eval_config.slicing_specs]
    return [
        features_extractor.FeaturesExtractor(eval_config=eval_config),
        extractor.Extractor(stage_name="NameInput", ptransform=beam.Map(_name_input)),
        labels_extractor.LabelsExtractor(eval_config=eval_config),
        predictions_extractor.PredictionsExtractor(
            eval_config=eval_config, eval_shared_model=eval_shared_model
        ),
        extractor.Extractor(
            # TFMA's evaluators run after the stage of this name.
            stage_name=slice_key_extractor.SLICE_KEY_EXTRACTOR_STAGE_NAME,
            ptransform=beam.FlatMap(groups, slicing),
        ),
    ]


def _name_input(batch: types.Extracts) -> types.Extracts:
    """Adds the serialized examples to the features, under the name of the model's input.

    Without this, TFMA passes them without a name, and TensorFlow first formats an error message
    with all of them.
    """
    named = {features.EXAMPLES: np.ravel(batch[constants.INPUT_KEY])}
    return {**batch, constants.FEATURES_KEY: {**batch[constants.FEATURES_KEY], **named}}


def groups(
    batch: types.Extracts, slicing: Sequence[slicer_lib.SingleSliceSpec]
) -> Iterator[types.Extracts]:
    """Splits a batch into random groups of examples that are in the same slices.

    Args:
      batch: TFMA's extracts of a batch: arrays with one row for each example.
      slicing: how TFMA makes slices.

    Yields:
      TFMA's extracts of each group: labels [count, 1], probabilities [count, classes] (by model,
      if there are several), and the slices.
    """
    labels = batch[constants.LABELS_KEY]
    probabilities = _probabilities(batch[constants.PREDICTIONS_KEY])
    columns = sorted({column for spec in slicing for column in _columns(spec)})
    found = [np.ravel(batch[constants.FEATURES_KEY][name]).tolist() for name in columns]
    rows = list(zip(*found, strict=True))
    slices_of = {
        row: frozenset(
            slicer_lib.get_slices_for_features_dicts([], _features(columns, row), slicing)
        )
        for row in set(rows)
    }
    members: dict[frozenset[Any], list[int]] = {}
    for index in np.random.default_rng(len(rows)).permutation(len(rows)).tolist():
        members.setdefault(slices_of[rows[index]], []).append(index)
    for slices, indices in members.items():
        size = min(_GROUP_SIZE, max(1, len(indices) // _GROUPS_PER_BATCH))
        for start in range(0, len(indices), size):
            group = indices[start : start + size]
            yield {
                constants.SLICE_KEY_TYPES_KEY: slicer_lib.slice_keys_to_numpy_array(list(slices)),
                constants.LABELS_KEY: _take(labels, group),
                constants.PREDICTIONS_KEY: _take(probabilities, group),
            }


def _features(columns: Sequence[str], row: Sequence[Any]) -> dict[str, NDArray[Any]]:
    return {name: np.array([value]) for name, value in zip(columns, row, strict=True)}


def _columns(spec: slicer_lib.SingleSliceSpec) -> Iterator[str]:
    proto = spec.to_proto()
    yield from (*proto.feature_keys, *proto.feature_values)


def _probabilities(predictions: Any) -> Any:
    """The probabilities among the outputs of a model; by model, if there are several."""
    if not isinstance(predictions, Mapping):
        return predictions
    if features.PROBABILITIES in predictions:
        return predictions[features.PROBABILITIES]
    return {model: _probabilities(outputs) for model, outputs in predictions.items()}


def _take(values: Any, rows: list[int]) -> Any:
    if isinstance(values, Mapping):
        return {name: _take(value, rows) for name, value in values.items()}
    return values[rows]


class GroupMetric(metric_types.Metric):  # type: ignore[misc]
    """A metric that is a function of sums over examples.

    Args:
      name: the name in TFMA's results.
      code_digest: the digest of this module, which makes an edit part of the Evaluator's cache
        key; not used.
    """

    key_type: ClassVar[type[metric_types.MetricKey]] = metric_types.MetricKey
    has_interval: ClassVar[bool] = True

    def __init__(self, name: str, code_digest: str = ""):
        del code_digest
        metric = type(self)

        def computations(
            name: str,
            model_name: str = "",
            output_name: str = "",
            example_weighted: bool = False,
        ) -> metric_types.MetricComputations:
            key = metric.key_type(
                name=name,
                model_name=model_name,
                output_name=output_name,
                example_weighted=example_weighted,
            )
            combiner = _Combiner(metric, key)
            return [metric_types.MetricComputation([key], preprocessors=None, combiner=combiner)]

        super().__init__(metric_util.merge_per_key_computations(computations), name=name)

    @staticmethod
    def sums(probabilities: Floats, labels: Integers) -> Floats:
        """The sums over a group, from probabilities [count, classes] and labels [count]."""
        raise NotImplementedError

    @staticmethod
    def value(sums: Floats) -> object:
        """The metric, from the sums over all groups."""
        raise NotImplementedError

    @property
    def compute_confidence_interval(self) -> bool:
        """Whether TFMA computes the jackknife interval."""
        return self.has_interval


class _Combiner(beam.CombineFn):  # type: ignore[misc]
    """Adds the sums of groups. The accumulator is an array, or 0 before the first group."""

    def __init__(self, metric: type[GroupMetric], key: metric_types.MetricKey):
        self._metric = metric
        self._key = key
        self._model_name = key.model_name

    def create_accumulator(self) -> Any:
        return 0.0

    def add_input(self, accumulator: Any, element: metric_types.StandardMetricInputs) -> Any:
        labels, probabilities = element.label, element.prediction
        if self._model_name:  # there is a champion
            labels, probabilities = (
                value[self._model_name] if isinstance(value, Mapping) else value
                for value in (labels, probabilities)
            )
        return accumulator + self._metric.sums(probabilities, np.ravel(labels))

    def merge_accumulators(self, accumulators: Iterable[Any]) -> Any:
        return sum(accumulators, start=0.0)

    def extract_output(self, accumulator: Any) -> dict[metric_types.MetricKey, object]:
        return {self._key: self._metric.value(accumulator)}


class ExampleCount(GroupMetric):
    """The number of examples."""

    has_interval = False

    @staticmethod
    def sums(probabilities: Floats, labels: Integers) -> Floats:
        """The number of examples."""
        return np.array(float(len(labels)))

    @staticmethod
    def value(sums: Floats) -> float:
        """1 or more."""
        return float(sums)


class Accuracy(GroupMetric):
    """The share of examples whose largest probability is that of their label."""

    @staticmethod
    def sums(probabilities: Floats, labels: Integers) -> Floats:
        """The number of examples, and of correct ones: [2]."""
        return np.array([len(labels), np.sum(probabilities.argmax(axis=1) == labels)], float)

    @staticmethod
    def value(sums: Floats) -> float:
        """0 to 1."""
        return float(sums[1] / sums[0])


class CrossEntropy(GroupMetric):
    """The mean of -log(probability of the label)."""

    @staticmethod
    def sums(probabilities: Floats, labels: Integers) -> Floats:
        """The number of examples, and the sum of their losses: [2]."""
        own = probabilities[np.arange(len(labels)), labels].astype(float)
        losses = -np.log(np.clip(own, _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY))
        return np.array([len(labels), losses.sum()])

    @staticmethod
    def value(sums: Floats) -> float:
        """0 or more."""
        return float(sums[1] / sums[0])


class ExpectedCalibrationError(GroupMetric):
    """See `calibration.py`."""

    @staticmethod
    def sums(probabilities: Floats, labels: Integers) -> Floats:
        """See `calibration.bin_sums`."""
        return calibration.bin_sums(probabilities, labels)

    @staticmethod
    def value(sums: Floats) -> float:
        """0 to 1."""
        return calibration.expected_calibration_error(sums)


class ConfusionMatrix(GroupMetric):
    """The number of examples by true and predicted digit, as a plot of TFMA."""

    key_type = metric_types.PlotKey
    has_interval = False

    @staticmethod
    def sums(probabilities: Floats, labels: Integers) -> Floats:
        """[classes, classes]."""
        matrix = np.zeros((features.NUM_CLASSES, features.NUM_CLASSES))
        np.add.at(matrix, (labels, probabilities.argmax(axis=1)), 1)
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


for _metric in (ExampleCount, Accuracy, CrossEntropy, ExpectedCalibrationError, ConfusionMatrix):
    metric_types.register_metric(_metric)
