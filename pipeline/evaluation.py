"""What TFMA measures, and the thresholds that a model must pass to be blessed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow_model_analysis as tfma
from numpy.typing import NDArray
from tensorflow_model_analysis.proto import (
    config_pb2,
    metrics_for_slice_pb2,
    validation_result_pb2,
)

from pipeline.config import EvaluationConfig
from trainer import features

ACCURACY = "sparse_categorical_accuracy"
LOSS = "sparse_categorical_crossentropy"
CONFUSION_MATRIX = "multi_class_confusion_matrix_plot"
CANDIDATE, CHAMPION = "candidate", "champion"
OVERALL = config_pb2.SlicingSpec()
EACH_DIGIT = config_pb2.SlicingSpec(feature_keys=[features.LABEL])


@dataclass(frozen=True)
class Verdict:
    """What the Evaluator found about a candidate, on the test split."""

    examples: int
    accuracy: float
    loss: float
    digit_accuracy: dict[str, float]
    refusals: tuple[str, ...]
    """Why it was not blessed, one threshold a sentence; empty where it was."""


def eval_config(config: EvaluationConfig) -> config_pb2.EvalConfig:
    """TFMA's configuration: the metrics, overall and for each digit, and the thresholds.

    Where there is no champion yet, TFX's Evaluator drops what compares with it.
    """
    return config_pb2.EvalConfig(
        model_specs=[_model_spec(CANDIDATE), _model_spec(CHAMPION, is_baseline=True)],
        slicing_specs=[OVERALL, EACH_DIGIT],
        metrics_specs=[
            config_pb2.MetricsSpec(
                metrics=[
                    config_pb2.MetricConfig(class_name="ExampleCount"),
                    config_pb2.MetricConfig(
                        class_name="SparseCategoricalAccuracy",
                        config=_named(ACCURACY),
                        # Not `threshold`: that would hold for every slice.
                        per_slice_thresholds=[
                            _threshold(
                                OVERALL,
                                value_threshold=_at_least(config.min_accuracy),
                                change_threshold=config_pb2.GenericChangeThreshold(
                                    absolute={"value": -config.max_accuracy_drop},
                                    direction=config_pb2.MetricDirection.HIGHER_IS_BETTER,
                                ),
                            ),
                            _threshold(
                                EACH_DIGIT, value_threshold=_at_least(config.min_digit_accuracy)
                            ),
                        ],
                    ),
                    config_pb2.MetricConfig(
                        class_name="SparseCategoricalCrossentropy",
                        config=_named(LOSS),
                        per_slice_thresholds=[
                            _threshold(OVERALL, value_threshold=_at_most(config.max_loss))
                        ],
                    ),
                    config_pb2.MetricConfig(
                        class_name="MultiClassConfusionMatrixPlot",
                        config=json.dumps({"name": CONFUSION_MATRIX, "thresholds": [0.0]}),
                    ),
                ]
            )
        ],
    )


def read_verdict(evaluation_uri: str) -> Verdict:
    """Reads what the Evaluator wrote into its `evaluation` artifact."""
    metrics: dict[str, dict[str, float]] = {}
    for per_slice in tfma.load_metrics(evaluation_uri):
        metrics[_digit(per_slice.slice_key)] = {
            metric.key.name: metric.value.double_value.value
            for metric in per_slice.metric_keys_and_values
            if _is_candidates(metric.key)
        }
    overall = metrics.pop("")
    return Verdict(
        examples=int(overall["example_count"]),
        accuracy=overall[ACCURACY],
        loss=overall[LOSS],
        digit_accuracy={digit: metrics[digit][ACCURACY] for digit in sorted(metrics)},
        refusals=tuple(_refusals(tfma.load_validation_result(evaluation_uri))),
    )


def read_confusion_matrix(evaluation_uri: str) -> NDArray[np.int64]:
    """How often each digit was taken for each: int64 [10, 10], rows are the true digits."""
    matrix = np.zeros((features.NUM_CLASSES, features.NUM_CLASSES), np.int64)
    for per_slice in tfma.load_plots(evaluation_uri):
        if per_slice.slice_key.single_slice_keys:
            continue
        for plot in per_slice.plot_keys_and_values:
            if plot.key.name == CONFUSION_MATRIX and _is_candidates(plot.key):
                (at_threshold,) = plot.value.multi_class_confusion_matrix_at_thresholds.matrices
                for entry in at_threshold.entries:
                    cell = entry.actual_class_id, entry.predicted_class_id
                    matrix[cell] += round(entry.num_weighted_examples)
    return matrix


def _is_candidates(key: metrics_for_slice_pb2.MetricKey | metrics_for_slice_pb2.PlotKey) -> bool:
    # TFMA leaves the name out where there is only one model. Plots have no differences.
    return key.model_name in ("", CANDIDATE) and not getattr(key, "is_diff", False)


def _refusals(result: validation_result_pb2.ValidationResult) -> Iterator[str]:
    label = {ACCURACY: "accuracy", LOSS: "loss"}
    for per_slice in sorted(result.metric_validations_per_slice, key=lambda s: _digit(s.slice_key)):
        digit = _digit(per_slice.slice_key)
        where = f" on the digit {digit}" if digit else ""
        for failure in per_slice.failures:
            name = f"{label.get(failure.metric_key.name, failure.metric_key.name)}{where}"
            value = failure.metric_value.double_value.value
            threshold = failure.metric_threshold
            if failure.metric_key.is_diff:
                allowed = -threshold.change_threshold.absolute.value
                yield f"{name} is {-value:.4f} below the champion's, and {allowed:g} is allowed"
            elif threshold.value_threshold.HasField("lower_bound"):
                bound = threshold.value_threshold.lower_bound.value
                yield f"{name} is {value:.4f}, and at least {bound:g} is asked for"
            elif threshold.value_threshold.HasField("upper_bound"):
                bound = threshold.value_threshold.upper_bound.value
                yield f"{name} is {value:.4f}, and at most {bound:g} is allowed"
            else:
                yield f"{name} is {value:.4f}: {failure.message or 'not valid'}"
    for missing in result.missing_slices:
        yield f"no test image for {', '.join(missing.feature_keys) or 'any slice'}"


def _digit(slice_key: metrics_for_slice_pb2.SliceKey) -> str:
    """The digit of a slice, as text; empty for all examples."""
    return "".join(str(part.int64_value) for part in slice_key.single_slice_keys)


def _model_spec(name: str, is_baseline: bool = False) -> config_pb2.ModelSpec:
    return config_pb2.ModelSpec(
        name=name,
        signature_name=features.SERVING_DEFAULT,
        prediction_key=features.PROBABILITIES,
        label_key=features.LABEL,
        is_baseline=is_baseline,
    )


def _threshold(
    slicing: config_pb2.SlicingSpec, **thresholds: Any
) -> config_pb2.PerSliceMetricThreshold:
    return config_pb2.PerSliceMetricThreshold(
        slicing_specs=[slicing], threshold=config_pb2.MetricThreshold(**thresholds)
    )


def _at_least(bound: float) -> config_pb2.GenericValueThreshold:
    return config_pb2.GenericValueThreshold(lower_bound={"value": bound})


def _at_most(bound: float) -> config_pb2.GenericValueThreshold:
    return config_pb2.GenericValueThreshold(upper_bound={"value": bound})


def _named(name: str) -> str:
    return json.dumps({"name": name})
