"""The gates of an evaluation: each threshold, on each slice, and how the candidate did.

The names here are also what `pipeline/evaluation.py` configures TFMA with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from tensorflow_model_analysis.proto import (
    config_pb2,
    metrics_for_slice_pb2,
    validation_result_pb2,
)

from components import evaluation_slices
from components.evaluation_slices import Slice
from trainer import features

# Metrics, as TFMA names them in its results.
EXAMPLES: Final = "example_count"
ACCURACY: Final = "sparse_categorical_accuracy"
LOSS: Final = "sparse_categorical_crossentropy"
CALIBRATION_ERROR: Final = "expected_calibration_error"
CONFUSION_MATRIX: Final = "multi_class_confusion_matrix_plot"
LABELS: Final = {
    ACCURACY: "accuracy",
    LOSS: "loss",
    CALIBRATION_ERROR: "calibration error",
    EXAMPLES: "test images",
}

CANDIDATE, CHAMPION = "candidate", "champion"

Metric: TypeAlias = metrics_for_slice_pb2.MetricsForSlice.MetricKeyAndValue
Metrics: TypeAlias = Mapping[Slice, Sequence[Metric]]
"""TFMA's values, by slice."""


@dataclass(frozen=True)
class Gate:
    """One threshold on one slice, and how the candidate did."""

    metric: str
    slice: Slice
    value: float
    limit: float
    is_lower_bound: bool
    is_change: bool
    """Whether `value` is the difference to the champion, rather than the candidate's own."""

    passed: bool

    @property
    def what(self) -> str:
        """The metric and where it is measured."""
        change = ", against the champion" if self.is_change else ""
        return f"{LABELS[self.metric]}{self.slice}{change}"

    @property
    def shown(self) -> str:
        """The value."""
        if self.metric == EXAMPLES:
            return f"{self.value:,.0f}"
        return f"{self.value:+.4f}" if self.is_change else f"{self.value:.4f}"

    def __str__(self) -> str:
        """A sentence without its full stop, for a gate that was not passed."""
        what = f"{LABELS[self.metric]}{self.slice}"
        if self.is_change:
            allowed = f"{-self.limit:g} is allowed"
            return f"{what} is {-self.value:.4f} below the champion's, and {allowed}"
        asked = "at least {:g} is asked for" if self.is_lower_bound else "at most {:g} is allowed"
        return f"{what} is {self.shown}, and {asked.format(self.limit)}"


def judge(
    config: config_pb2.EvalConfig, metrics: Metrics, result: validation_result_pb2.ValidationResult
) -> list[Gate]:
    """Every threshold on every slice that it is for; TFMA's own verdict on each."""
    failed = {
        (failure.metric_key.name, where, failure.metric_key.is_diff)
        for per_slice in result.metric_validations_per_slice
        for failure in per_slice.failures
        if (where := evaluation_slices.parse(per_slice.slice_key)) is not None
    }
    return sorted(_gates(config, metrics, failed), key=_order)


def _gates(
    config: config_pb2.EvalConfig,
    metrics: Metrics,
    failed: set[tuple[str, Slice, bool]],
) -> Iterator[Gate]:
    for metric in (metric for spec in config.metrics_specs for metric in spec.metrics):
        for per_slice in metric.per_slice_thresholds:
            for where, values in metrics.items():
                if not any(
                    evaluation_slices.is_for(spec, where) for spec in per_slice.slicing_specs
                ):
                    continue
                for each in values:
                    if each.key.name != _name(metric) or each.key.model_name == CHAMPION:
                        continue
                    bound = _bound(per_slice.threshold, each.key.is_diff)
                    if bound is None:
                        continue
                    yield Gate(
                        metric=each.key.name,
                        slice=where,
                        value=each.value.double_value.value,
                        limit=bound[0],
                        is_lower_bound=bound[1],
                        is_change=each.key.is_diff,
                        passed=(each.key.name, where, each.key.is_diff) not in failed,
                    )


def _bound(threshold: config_pb2.MetricThreshold, is_change: bool) -> tuple[float, bool] | None:
    """A threshold's limit, and whether it is a lower bound; None where it has none of the kind."""
    if is_change:
        if not threshold.HasField("change_threshold"):
            return None
        change = threshold.change_threshold
        higher = change.direction == config_pb2.MetricDirection.HIGHER_IS_BETTER
        return change.absolute.value, higher
    bounds = threshold.value_threshold
    if bounds.HasField("lower_bound"):
        return bounds.lower_bound.value, True
    return (bounds.upper_bound.value, False) if bounds.HasField("upper_bound") else None


def _name(metric: config_pb2.MetricConfig) -> str:
    return str(json.loads(metric.config or "{}").get("name", metric.class_name))


def _order(gate: Gate) -> tuple[object, ...]:
    where = gate.slice
    return (
        where.corruption != features.IDENTITY,
        -1 if where.digit is None else where.digit,
        where.corruption,
        where.strength or 0,
        list(LABELS).index(gate.metric),
        gate.is_change,
    )
