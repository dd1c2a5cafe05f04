"""The result of the Evaluator, read from its artifact: scores by slice, and the gates.

`pipeline/graph/eval_config.py` configures the Evaluator.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import tensorflow_model_analysis as tfma
from numpy.typing import NDArray
from scipy import stats
from tensorflow_model_analysis.proto import validation_result_pb2

from components.evaluation import gates as evaluation_gates
from components.evaluation import slices
from components.evaluation.gates import Gate
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
    Metric,
)
from components.evaluation.slice_features import IDENTITY
from components.evaluation.slices import Slice
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
    """The number of different images: fewer than examples if each is moved in four directions."""

    accuracy: float
    loss: float
    calibration_error: float
    intervals: dict[str, Interval]
    """95 % intervals by the name of the metric, from `jackknife.py`, which counts copies of an
    image once; a metric without an interval is left out."""

    @property
    def accuracy_interval(self) -> Interval:
        """Wilson's interval: the jackknife's has no width if every image is correct."""
        return wilson(self.accuracy, self.images)


@dataclass(frozen=True)
class SliceScores:
    """Both models on one slice."""

    slice: Slice
    candidate: Scores
    champion: Scores | None
    """None if there is no champion."""

    accuracy_change: Interval | None
    """The interval of the paired difference, candidate minus champion, from `jackknife.py`; None
    without a champion, or if there are too few images."""


@dataclass(frozen=True)
class Evaluation:
    """The result for one candidate."""

    slices: tuple[SliceScores, ...]
    gates: tuple[Gate, ...]
    rejections: tuple[str, ...]
    """Why it was not blessed, one sentence each; empty if it was blessed."""

    @property
    def overall(self) -> SliceScores:
        """The scores on all clean test images."""
        return next(scores for scores in self.slices if scores.slice == Slice())

    @property
    def digits(self) -> list[SliceScores]:
        """The scores on the clean images of each digit, in order."""
        of_digits = [scores for scores in self.slices if scores.slice.digit is not None]
        return sorted(of_digits, key=lambda scores: scores.slice.digit or 0)

    @property
    def digit_accuracy(self) -> dict[str, float]:
        """The candidate's accuracy by digit."""
        return {str(scores.slice.digit): scores.candidate.accuracy for scores in self.digits}

    def robustness(self, corruption: str, direction: str | None = None) -> list[SliceScores]:
        """The scores under a corruption, by strength."""
        under_it = [
            scores
            for scores in self.slices
            if scores.slice.corruption == corruption and scores.slice.direction == direction
        ]
        return sorted(under_it, key=lambda scores: scores.slice.strength or 0)

    @property
    def corruptions(self) -> list[str]:
        """The evaluated corruptions, in alphabetical order."""
        return sorted({scores.slice.corruption for scores in self.slices} - {IDENTITY})


def wilson(share: float, count: int) -> Interval:
    """Wilson's score interval for a share of `count` independent examples."""
    test = stats.binomtest(round(share * count), count)
    interval = test.proportion_ci(CONFIDENCE, method="wilson")
    return Interval(float(interval.low), float(interval.high))


def read(evaluation_uri: str) -> Evaluation:
    """Reads the Evaluator's `evaluation` artifact."""
    metrics = {
        where: list(per_slice.metric_keys_and_values)
        for per_slice in tfma.load_metrics(evaluation_uri)
        if (where := slices.parse(per_slice.slice_key)) is not None
    }
    result = tfma.load_validation_result(evaluation_uri)
    config = tfma.load_eval_result(evaluation_uri).config
    gates = evaluation_gates.evaluated_gates(config, metrics, result)
    rejections = [str(gate) for gate in gates if not gate.passed]
    rejections += _missing(result)
    if not rejections and not result.validation_ok:
        rejections = ["TFMA's validation failed"]
    scores = tuple(_slice_scores(where, values) for where, values in metrics.items())
    return Evaluation(scores, tuple(gates), tuple(rejections))


def read_confusion_matrix(evaluation_uri: str) -> NDArray[np.int64]:
    """The confusion matrix on clean images: int64 [10, 10], true digits by predicted digits."""
    matrix = np.zeros((features.NUM_CLASSES, features.NUM_CLASSES), np.int64)
    for per_slice in tfma.load_plots(evaluation_uri):
        if slices.parse(per_slice.slice_key) != Slice():
            continue
        for plot in per_slice.plot_keys_and_values:
            if plot.key.name == CONFUSION_MATRIX and plot.key.model_name in (CANDIDATE, ""):
                (at_threshold,) = plot.value.multi_class_confusion_matrix_at_thresholds.matrices
                for entry in at_threshold.entries:
                    cell = entry.actual_class_id, entry.predicted_class_id
                    matrix[cell] += round(entry.num_weighted_examples)
    return matrix


class Predictions(NamedTuple):
    """What is kept of the candidate's predictions on clean images."""

    bins: NDArray[np.float64]
    """From `calibration.bin_sums`."""

    worst_mistakes: list[tuple[int, int, list[float]]]
    """Index, label and probabilities of each, see `group_metrics.WorstMistakes`."""


def read_predictions(evaluation_uri: str) -> Predictions:
    """Reads what the report shows of single predictions."""
    (values,) = (
        per_slice.metric_keys_and_values
        for per_slice in tfma.load_metrics(evaluation_uri)
        if slices.parse(per_slice.slice_key) == Slice()
    )
    found = {
        each.key.name: each.value.bytes_value
        for each in values
        if each.key.model_name in (CANDIDATE, "")
    }
    worst = json.loads(found[WORST_MISTAKES])
    return Predictions(
        np.array(json.loads(found[CALIBRATION_BINS])),
        [(index, label, probabilities) for index, label, probabilities in worst],
    )


def _slice_scores(where: Slice, values: list[Metric]) -> SliceScores:
    has_champion = any(each.key.model_name == CHAMPION for each in values)
    changes = [
        interval
        for each in values
        if each.key.is_diff and each.key.name == ACCURACY
        if (interval := _interval(each)) is not None
    ]
    return SliceScores(
        slice=where,
        # TFMA omits the name if there is only one model.
        candidate=_scores(where, values, (CANDIDATE, "")),
        champion=_scores(where, values, (CHAMPION,)) if has_champion else None,
        accuracy_change=changes[0] if changes else None,
    )


def _scores(where: Slice, values: Iterable[Metric], model_names: tuple[str, ...]) -> Scores:
    own = {
        each.key.name: each
        for each in values
        if each.key.model_name in model_names and not each.key.is_diff
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
    """The thresholds whose slices contain no example."""
    for missing in result.missing_slices:
        wanted = [*missing.feature_keys, *(f"{k} {v}" for k, v in missing.feature_values.items())]
        yield f"there is no test image for {', '.join(wanted) or 'any slice'}"
