"""What the Evaluator found, read back from its artifact: scores by slice, and each gate's verdict.

`pipeline/evaluation.py` is what configures it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import tensorflow_model_analysis as tfma
from numpy.typing import NDArray
from scipy import stats
from tensorflow_model_analysis.proto import (
    validation_result_pb2,
)

from components import evaluation_gates, evaluation_slices
from components.evaluation_gates import (
    ACCURACY,
    CALIBRATION_ERROR,
    CANDIDATE,
    CHAMPION,
    CONFUSION_MATRIX,
    EXAMPLES,
    LOSS,
    Gate,
    Metric,
)
from components.evaluation_slices import Slice
from trainer import features

CONFIDENCE: Final = 0.95


class Interval(NamedTuple):
    """A 95 % confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Scores:
    """One model on one slice."""

    examples: int
    images: int
    """How many different images: fewer than examples where each is moved in four directions."""

    accuracy: float
    loss: float
    calibration_error: float
    intervals: dict[str, Interval]
    """By metric, where there is one: TFMA's jackknife. It takes examples for independent."""

    @property
    def accuracy_interval(self) -> Interval:
        """Wilson's: that of a jackknife has no width where no image is wrong."""
        return wilson(self.accuracy, self.images)


@dataclass(frozen=True)
class SliceScores:
    """Both models on one slice."""

    slice: Slice
    candidate: Scores
    champion: Scores | None
    """None where there was no champion."""

    accuracy_change: Interval | None
    """How much better the candidate is: an interval for the paired difference; None without a
    champion, and where the examples are not independent."""


@dataclass(frozen=True)
class Evaluation:
    """What the Evaluator found about a candidate."""

    slices: tuple[SliceScores, ...]
    gates: tuple[Gate, ...]
    refusals: tuple[str, ...]
    """Why it was not blessed, one sentence each; empty where it was."""

    @property
    def overall(self) -> SliceScores:
        """On all clean test images."""
        return next(found for found in self.slices if found.slice == Slice())

    @property
    def digits(self) -> list[SliceScores]:
        """On the clean images of each digit, in order."""
        found = [scores for scores in self.slices if scores.slice.digit is not None]
        return sorted(found, key=lambda scores: scores.slice.digit or 0)

    @property
    def digit_accuracy(self) -> dict[str, float]:
        """The candidate's, by digit."""
        return {str(found.slice.digit): found.candidate.accuracy for found in self.digits}

    def robustness(self, corruption: str, direction: str | None = None) -> list[SliceScores]:
        """Under a corruption, by strength."""
        found = [
            scores
            for scores in self.slices
            if scores.slice.corruption == corruption and scores.slice.direction == direction
        ]
        return sorted(found, key=lambda scores: scores.slice.strength or 0)

    @property
    def corruptions(self) -> list[str]:
        """Those that were looked at, in alphabetical order."""
        return sorted({found.slice.corruption for found in self.slices} - {features.IDENTITY})


def wilson(share: float, count: int) -> Interval:
    """Wilson's score interval for a share of `count` independent examples."""
    found = stats.binomtest(round(share * count), count).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(float(found.low), float(found.high))


def read(evaluation_uri: str) -> Evaluation:
    """Reads what the Evaluator wrote into its `evaluation` artifact."""
    found: dict[Slice, SliceScores] = {}
    metrics: dict[Slice, list[Metric]] = {}
    for per_slice in tfma.load_metrics(evaluation_uri):
        where = evaluation_slices.parse(per_slice.slice_key)
        if where is None:
            continue
        metrics[where] = list(per_slice.metric_keys_and_values)
        has_champion = any(each.key.model_name == CHAMPION for each in metrics[where])
        found[where] = SliceScores(
            slice=where,
            candidate=_scores(where, metrics[where], (CANDIDATE, "")),
            champion=_scores(where, metrics[where], (CHAMPION,)) if has_champion else None,
            accuracy_change=next(
                (
                    interval
                    for each in metrics[where]
                    if each.key.is_diff
                    and each.key.name == ACCURACY
                    and where.copies == 1
                    and (interval := _interval(each))
                ),
                None,
            ),
        )
    result = tfma.load_validation_result(evaluation_uri)
    config = tfma.load_eval_result(evaluation_uri).config
    gates = evaluation_gates.judge(config, metrics, result)
    refusals = [str(gate) for gate in gates if not gate.passed]
    refusals += _missing(result)
    if not refusals and not result.validation_ok:
        refusals = ["TFMA did not find it valid"]
    return Evaluation(tuple(found.values()), tuple(gates), tuple(refusals))


def read_confusion_matrix(evaluation_uri: str) -> NDArray[np.int64]:
    """How often each digit was taken for each: int64 [10, 10], rows are the true digits."""
    matrix = np.zeros((features.NUM_CLASSES, features.NUM_CLASSES), np.int64)
    for per_slice in tfma.load_plots(evaluation_uri):
        if evaluation_slices.parse(per_slice.slice_key) != Slice():
            continue
        for plot in per_slice.plot_keys_and_values:
            if plot.key.name == CONFUSION_MATRIX and plot.key.model_name in (CANDIDATE, ""):
                (at_threshold,) = plot.value.multi_class_confusion_matrix_at_thresholds.matrices
                for entry in at_threshold.entries:
                    cell = entry.actual_class_id, entry.predicted_class_id
                    matrix[cell] += round(entry.num_weighted_examples)
    return matrix


def _scores(
    where: Slice,
    metrics: Iterable[Metric],
    names: tuple[str, ...],
) -> Scores:
    # TFMA leaves the name out where there is only one model.
    own = {
        each.key.name: each
        for each in metrics
        if each.key.model_name in names and not each.key.is_diff
    }
    value = {name: each.value.double_value.value for name, each in own.items()}
    intervals = {name: interval for name, each in own.items() if (interval := _interval(each))}
    return Scores(
        examples=round(value[EXAMPLES]),
        images=round(value[EXAMPLES]) // where.copies,
        accuracy=value[ACCURACY],
        loss=value[LOSS],
        calibration_error=value[CALIBRATION_ERROR],
        intervals=intervals,
    )


def _interval(metric: Metric) -> Interval | None:
    bounds = metric.confidence_interval
    low, high = bounds.lower_bound.double_value.value, bounds.upper_bound.double_value.value
    has_one = metric.HasField("confidence_interval") and math.isfinite(low + high)
    return Interval(low, high) if has_one else None


def _missing(result: validation_result_pb2.ValidationResult) -> Iterator[str]:
    """Thresholds for slices that no example is in."""
    for missing in result.missing_slices:
        wanted = [*missing.feature_keys, *(f"{k} {v}" for k, v in missing.feature_values.items())]
        yield f"there is no test image for {', '.join(wanted) or 'any slice'}"
