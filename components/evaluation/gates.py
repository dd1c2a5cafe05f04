"""The gates of an evaluation: each threshold on each slice, and the candidate's value."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tensorflow_model_analysis.proto import config_pb2, validation_result_pb2

from components.evaluation import slices
from components.evaluation.metrics import CHAMPION, EXAMPLES, LABELS, Metrics
from components.evaluation.slice_features import IDENTITY
from components.evaluation.slices import Slice


@dataclass(frozen=True)
class Gate:
    """One threshold on one slice, and the candidate's value."""

    metric: str
    slice: Slice
    value: float
    limit: float
    is_lower_bound: bool
    is_change: bool
    """Whether `value` is the difference from the champion, rather than the candidate's own."""

    passed: bool

    @property
    def title(self) -> str:
        """The metric and the slice."""
        change = ", compared with the champion" if self.is_change else ""
        return f"{LABELS[self.metric]}{self.slice.phrase}{change}"

    @property
    def shown(self) -> str:
        """The value, formatted."""
        if self.metric == EXAMPLES:
            return f"{self.value:,.0f}"
        return f"{self.value:+.4f}" if self.is_change else f"{self.value:.4f}"

    def __str__(self) -> str:
        """A sentence without its full stop, for a gate that was not passed."""
        what = f"{LABELS[self.metric]}{self.slice.phrase} is"
        if self.is_change:
            return f"{what} {-self.value:.4f} below the champion's; the limit is {-self.limit:g}"
        bound = "minimum" if self.is_lower_bound else "maximum"
        return f"{what} {self.shown}; the {bound} is {self.limit:g}"


def evaluated_gates(
    config: config_pb2.EvalConfig, metrics: Metrics, result: validation_result_pb2.ValidationResult
) -> list[Gate]:
    """Every threshold on every slice that it applies to, with TFMA's own verdict."""
    failed = {
        (failure.metric_key.name, where, failure.metric_key.is_diff)
        for per_slice in result.metric_validations_per_slice
        for failure in per_slice.failures
        if (where := slices.parse(per_slice.slice_key)) is not None
    }
    found = [
        Gate(
            metric=threshold.metric,
            slice=where,
            value=each.value.double_value.value,
            limit=bound.limit,
            is_lower_bound=bound.is_lower,
            is_change=each.key.is_diff,
            passed=(each.key.name, where, each.key.is_diff) not in failed,
        )
        for threshold in _thresholds(config)
        for where, values in metrics.items()
        if any(slices.applies(spec, where) for spec in threshold.slicing_specs)
        for each in values
        if each.key.name == threshold.metric and each.key.model_name != CHAMPION
        if (bound := _bound(threshold.threshold, each.key.is_diff)) is not None
    ]
    return sorted(found, key=_order)


class _Threshold(NamedTuple):
    metric: str
    slicing_specs: list[config_pb2.SlicingSpec]
    threshold: config_pb2.MetricThreshold


class _Bound(NamedTuple):
    limit: float
    is_lower: bool


def _thresholds(config: config_pb2.EvalConfig) -> Iterator[_Threshold]:
    for metric in (metric for spec in config.metrics_specs for metric in spec.metrics):
        name = str(json.loads(metric.config or "{}").get("name", metric.class_name))
        for per_slice in metric.per_slice_thresholds:
            yield _Threshold(name, list(per_slice.slicing_specs), per_slice.threshold)


def _bound(threshold: config_pb2.MetricThreshold, is_change: bool) -> _Bound | None:
    """The bound on a value, or on a change; None if the threshold has none of that kind."""
    if is_change:
        if not threshold.HasField("change_threshold"):
            return None
        change = threshold.change_threshold
        is_lower = change.direction == config_pb2.MetricDirection.HIGHER_IS_BETTER
        return _Bound(change.absolute.value, is_lower)
    bounds = threshold.value_threshold
    if bounds.HasField("lower_bound"):
        return _Bound(bounds.lower_bound.value, is_lower=True)
    if bounds.HasField("upper_bound"):
        return _Bound(bounds.upper_bound.value, is_lower=False)
    return None


def _order(gate: Gate) -> tuple[object, ...]:
    where = gate.slice
    return (
        where.corruption != IDENTITY,
        -1 if where.digit is None else where.digit,
        where.corruption,
        where.strength or 0,
        list(LABELS).index(gate.metric),
        gate.is_change,
    )
