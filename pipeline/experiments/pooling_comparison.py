"""The comparison of max and average pooling: tables, conclusions and a page."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from components.evaluation.results import Evaluation, Scores, wilson
from components.images.corruptions import TRANSLATE
from components.report import page, robustness_chart
from components.report.page import Table
from components.report.robustness_chart import Point
from trainer.hparams import POOLINGS
from trainer.training_cost import TrainingCost


class Trained(NamedTuple):
    """One trained and evaluated model."""

    pooling: str
    seed: int
    evaluation: Evaluation
    model: str
    """The SavedModel's folder."""

    cost: TrainingCost


def accuracy_table(trained: Sequence[Trained], with_seeds: bool) -> Table:
    """A row for each condition of the test images; a column for each pooling, and the difference.

    Args:
      trained: the models.
      with_seeds: whether to add the accuracy of each seed to the mean.
    """

    def cell(scores: Sequence[Scores]) -> str:
        each = ", ".join(f"{one.accuracy:.4f}" for one in scores)
        return f"{_mean(scores):.4f}" + (f" ({each})" if with_seeds and len(scores) > 1 else "")

    rows = []
    for where in _compared(trained):
        both = {name: _scores(trained, name, where) for name in POOLINGS}
        low, high = _difference_interval(both)
        difference = f"{_mean(both['max']) - _mean(both['average']):+.4f}"
        cells = [cell(scores) for scores in both.values()]
        rows.append([_name(where), *cells, f"{difference} [{low:+.4f}, {high:+.4f}]"])
    caption = "Accuracy, mean over the seeds; 95 % interval of the difference, over images"
    return Table(caption, ("test images", *POOLINGS, "max − average"), rows)


def conclusions(trained: Sequence[Trained]) -> list[str]:
    """A sentence about clean images and about each translation, which the numbers support."""
    clean = {name: _mean(_scores(trained, name, _CLEAN)) for name in POOLINGS}
    found = []
    for where in _compared(trained):
        name, _ = where
        if name not in (None, TRANSLATE):
            continue
        both = {pooling: _scores(trained, pooling, where) for pooling in POOLINGS}
        low, high = _difference_interval(both)
        difference = _mean(both["max"]) - _mean(both["average"])
        if low > 0:
            verdict = f"max pooling is better, by {difference:.4f}"
        elif high < 0:
            verdict = f"average pooling is better, by {-difference:.4f}"
        else:
            verdict = f"no significant difference ({difference:+.4f})"
        sentence = f"{_name(where)}: {verdict} (95 % interval {low:+.4f} to {high:+.4f})"
        if name is not None:
            costs = {pooling: clean[pooling] - _mean(scores) for pooling, scores in both.items()}
            sentence += (
                f"; the translation costs max pooling {costs['max']:.4f} and average pooling "
                f"{costs['average']:.4f} of its accuracy on clean images"
            )
        found.append(sentence)
    return found


Where = tuple[str | None, int]
"""A corruption (None for clean images) and a strength."""

_CLEAN: Final[Where] = (None, 0)


def _compared(trained: Sequence[Trained]) -> list[Where]:
    first = trained[0].evaluation
    found = [_CLEAN]
    for name in sorted(first.corruptions, key=lambda name: (name != TRANSLATE, name)):
        found += [(name, scores.slice.strength or 0) for scores in first.robustness(name)]
    return found


def _name(where: Where) -> str:
    name, strength = where
    return "clean" if name is None else f"{name} {strength}"


def _scores(trained: Sequence[Trained], pooling: str, where: Where) -> list[Scores]:
    """The scores of each seed."""
    name, strength = where
    chosen = [one.evaluation for one in trained if one.pooling == pooling]
    if name is None:
        return [evaluation.overall.candidate for evaluation in chosen]
    return [
        found.candidate
        for evaluation in chosen
        for found in evaluation.robustness(name)
        if found.slice.strength == strength
    ]


def _mean(scores: Sequence[Scores]) -> float:
    return statistics.fmean(one.accuracy for one in scores)


def _difference_interval(both: Mapping[str, Sequence[Scores]]) -> tuple[float, float]:
    """The 95 % interval of the difference, by Newcombe's method from Wilson's intervals."""
    count = {name: sum(one.images for one in scores) for name, scores in both.items()}
    mean = {name: _mean(scores) for name, scores in both.items()}
    bounds = {name: wilson(mean[name], count[name]) for name in both}
    difference = mean["max"] - mean["average"]
    down = math.hypot(mean["max"] - bounds["max"].low, bounds["average"].high - mean["average"])
    up = math.hypot(bounds["max"].high - mean["max"], mean["average"] - bounds["average"].low)
    return difference - down, difference + up


def cost_table(trained: Sequence[Trained], inference: Mapping[str, float]) -> Table:
    """A row for each pooling; `inference` is in images per second."""
    rows = []
    for name in POOLINGS:
        own = [one for one in trained if one.pooling == name]
        rows.append(
            [
                name,
                f"{own[0].cost.images:,}",
                f"{statistics.fmean(one.cost.seconds for one in own):.1f} s",
                f"{statistics.fmean(one.cost.images_per_s for one in own):.0f}",
                f"{inference[name]:.0f}",
            ]
        )
    headings = ("pooling", "images shown", "training", "images/s", "inference, images/s")
    return Table("Cost", headings, rows)


def render(
    trained: Sequence[Trained], findings: Sequence[str], accuracy: Table, cost: Table
) -> str:
    """The page with the plots, as HTML."""

    def point(pooling: str, where: Where) -> Point:
        scores = _scores(trained, pooling, where)
        return Point(where[1], _mean(scores), sum(one.images for one in scores))

    places: dict[str, list[Where]] = {}
    for where in _compared(trained):
        if where[0] is not None:
            places.setdefault(where[0], [_CLEAN]).append(where)
    return page.render(
        "pooling.html.j2",
        images=trained[0].cost.images,
        seeds=sorted({one.seed for one in trained}),
        findings=findings,
        accuracy=accuracy,
        cost=cost,
        charts=[
            robustness_chart.draw(
                name,
                {pooling: [point(pooling, where) for where in chosen] for pooling in POOLINGS},
            )
            for name, chosen in places.items()
        ],
    )
