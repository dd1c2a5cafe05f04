"""The configuration of the Evaluator: metrics, slices, and the thresholds for a blessing.

`components/evaluation/results.py` reads the results.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from tensorflow_model_analysis.proto import config_pb2

from components.evaluation import group_metrics
from components.evaluation.metrics import (
    ACCURACY,
    CALIBRATION_BINS,
    CALIBRATION_ERROR,
    CANDIDATE,
    CHAMPION,
    CONFUSION_MATRIX,
    EXAMPLES,
    LOSS,
    WORST_MISTAKES,
)
from components.evaluation.slice_features import CORRUPTION, STRENGTH
from components.evaluation.slices import ALL_DIGITS, EACH_DIGIT, EACH_DIRECTION, EACH_STRENGTH
from pipeline.settings.pipeline_config import REPORT, EvaluationConfig, Limit, RobustnessConfig
from trainer import features

Threshold: TypeAlias = config_pb2.PerSliceMetricThreshold


def create(
    evaluation: EvaluationConfig, robustness: RobustnessConfig, code_digest: str
) -> config_pb2.EvalConfig:
    """TFMA's configuration.

    Without a champion, TFX's Evaluator removes the comparisons with it. TFMA's own intervals are
    off: the metrics compute theirs.

    Args:
      evaluation: the thresholds on clean images.
      robustness: the thresholds on corrupted images.
      code_digest: the digest of the code that TFMA imports by name. As a part of the
        configuration it is a part of the Evaluator's cache key.
    """

    def metric(
        metric_class: type[group_metrics.GroupMetric],
        name: str,
        thresholds: Sequence[Threshold] = (),
    ) -> config_pb2.MetricConfig:
        return config_pb2.MetricConfig(
            class_name=metric_class.__name__,
            module=metric_class.__module__,
            config=json.dumps({"name": name, "code_digest": code_digest}),
            # Not `threshold`, which would apply to every slice.
            per_slice_thresholds=thresholds,
        )

    return config_pb2.EvalConfig(
        model_specs=[_model_spec(CANDIDATE), _model_spec(CHAMPION, is_baseline=True)],
        slicing_specs=[ALL_DIGITS, EACH_DIGIT, EACH_STRENGTH, EACH_DIRECTION],
        metrics_specs=[
            config_pb2.MetricsSpec(
                metrics=[
                    metric(
                        group_metrics.NumberOfExamples,
                        EXAMPLES,
                        # TFX blesses no model without a threshold, and all others may be off.
                        _at_least(ALL_DIGITS, 1.0),
                    ),
                    metric(
                        group_metrics.Accuracy,
                        ACCURACY,
                        [
                            *_at_least(ALL_DIGITS, evaluation.min_accuracy),
                            *_no_worse(ALL_DIGITS, evaluation.max_accuracy_drop),
                            *_at_least(EACH_DIGIT, evaluation.min_digit_accuracy),
                            *_no_worse(EACH_DIGIT, evaluation.max_digit_accuracy_drop),
                            *_robust(robustness),
                        ],
                    ),
                    metric(
                        group_metrics.CrossEntropy,
                        LOSS,
                        _at_most(ALL_DIGITS, evaluation.max_loss),
                    ),
                    metric(
                        group_metrics.ExpectedCalibrationError,
                        CALIBRATION_ERROR,
                        _at_most(ALL_DIGITS, evaluation.max_calibration_error),
                    ),
                    metric(group_metrics.CalibrationBins, CALIBRATION_BINS),
                    metric(group_metrics.WorstMistakes, WORST_MISTAKES),
                    metric(group_metrics.ConfusionMatrix, CONFUSION_MATRIX),
                ]
            )
        ],
    )


def _robust(robustness: RobustnessConfig) -> Iterator[Threshold]:
    for corruption, limits in robustness.min_accuracy.items():
        for strength, limit in limits.items():
            where = {CORRUPTION: corruption, STRENGTH: strength}
            yield from _at_least(config_pb2.SlicingSpec(feature_values=where), limit)


def _at_least(slicing: config_pb2.SlicingSpec, limit: Limit) -> list[Threshold]:
    bounds = config_pb2.GenericValueThreshold(lower_bound={"value": _number(limit)})
    return _threshold(slicing, limit, value_threshold=bounds)


def _at_most(slicing: config_pb2.SlicingSpec, limit: Limit) -> list[Threshold]:
    bounds = config_pb2.GenericValueThreshold(upper_bound={"value": _number(limit)})
    return _threshold(slicing, limit, value_threshold=bounds)


def _no_worse(slicing: config_pb2.SlicingSpec, drop: Limit) -> list[Threshold]:
    change = config_pb2.GenericChangeThreshold(
        absolute={"value": -_number(drop)}, direction=config_pb2.MetricDirection.HIGHER_IS_BETTER
    )
    return _threshold(slicing, drop, change_threshold=change)


def _threshold(slicing: config_pb2.SlicingSpec, limit: Limit, **thresholds: Any) -> list[Threshold]:
    """The threshold; none if the metric is only reported."""
    if limit == REPORT:
        return []
    return [Threshold(slicing_specs=[slicing], threshold=config_pb2.MetricThreshold(**thresholds))]


def _number(limit: Limit) -> float:
    return 0.0 if limit == REPORT else float(limit)


def _model_spec(name: str, is_baseline: bool = False) -> config_pb2.ModelSpec:
    return config_pb2.ModelSpec(
        name=name,
        signature_name=features.SERVING_DEFAULT,
        prediction_key=features.PROBABILITIES,
        label_key=features.LABEL,
        is_baseline=is_baseline,
    )
