"""The charts of a run's report."""

from __future__ import annotations

import numpy as np

from components.evaluation.results import Evaluation, Scores, SliceScores
from components.report import charts, robustness_chart
from components.report.data_facts import DataFacts
from components.report.model_facts import ModelFacts
from components.report.page import Chart, Table, chart
from components.report.robustness_chart import Point
from components.report.run_facts import RunFacts
from components.report.training_facts import METRICS, TrainingFacts
from trainer import features


def robustness(evaluation: Evaluation, corruption: str) -> Chart:
    """Accuracy by strength of a corruption; also the champion's, if there is one."""
    found = evaluation.robustness(corruption)
    clean = evaluation.overall
    lines = {"candidate": [_point(0, clean.candidate)]}
    lines["candidate"] += [_point(strength(scores), scores.candidate) for scores in found]
    if clean.champion:
        lines["champion"] = [_point(0, clean.champion)]
        lines["champion"] += [_point(strength(s), s.champion) for s in found if s.champion]
    limits: dict[float, float] = {
        gate.slice.strength or 0: gate.limit
        for gate in evaluation.gates
        if gate.slice.corruption == corruption and not gate.is_change
    }
    return robustness_chart.draw(corruption, lines, limits)


def _point(strength: int, scores: Scores) -> Point:
    return Point(strength, scores.accuracy, scores.images)


def strength(found: SliceScores) -> int:
    """The strength of a slice's corruption; 0 for clean images."""
    return found.slice.strength or 0


def balance(facts: RunFacts) -> Chart:
    """The share of each digit, by split."""
    splits = facts.data.splits
    named = {name: list(split.shares) for name, split in splits.items()}
    largest = max(
        abs(share - expected)
        for split in splits.values()
        for share, expected in zip(split.shares, facts.expected_shares, strict=True)
    )
    rows = [
        [
            facts.class_names[digit],
            f"{facts.expected_shares[digit]:.4f}",
            *(f"{split.shares[digit]:.4f}" for split in splits.values()),
        ]
        for digit in range(features.NUM_CLASSES)
    ]
    return chart(
        "Share of each class",
        f"The share of each class in {', '.join(splits)}: at most {largest:.4f} from expected.",
        charts.bars(facts.class_names, named, "share", ""),
        Table("Share of each class", ("class", "expected", *splits), rows),
    )


def brightness(data: DataFacts) -> Chart:
    """The distribution of the images' brightness, by split."""
    named = {name: split.brightness for name, split in data.splits.items()}
    means = ", ".join(
        f"{split.mean_brightness:.1f} in {name}" for name, split in data.splits.items()
    )
    rows = [
        [f"{name}, {low:.0f} to {high:.0f}", f"{share:.4f}"]
        for name, (edges, shares) in named.items()
        for low, high, share in zip(edges, edges[1:], shares, strict=False)
    ]
    return chart(
        "Brightness: the mean pixel of an image, 0 to 255",
        f"Brightness of the images by split; the mean is {means}.",
        charts.histograms(named, "mean pixel"),
        Table("Brightness", ("split and mean pixel", "share"), rows),
    )


def training(training: TrainingFacts) -> list[Chart]:
    """Loss and accuracy during training; empty without logs."""
    drawn = []
    for metric in METRICS:
        if not (points := training.train.get(metric)):
            continue
        name = metric.replace("_", " ")
        named = {"train": charts.Curve([s for s, _ in points], [v for _, v in points])}
        held_out = training.held_out.get(metric, [])
        rows = [
            ["train", str(step), f"{value:.4f}"] for step, value in points[:: -(-len(points) // 20)]
        ]
        rows += [["held out", str(step), f"{value:.4f}"] for step, value in held_out]
        trend = f"from {points[0][1]:.4f} to {points[-1][1]:.4f} over {points[-1][0]} steps"
        if held_out:
            named["held out"] = charts.Curve([s for s, _ in held_out], [v for _, v in held_out])
            trend += f"; {held_out[-1][1]:.4f} on held-out images at the end"
        svg = charts.curves(named, "step", name)
        drawn.append(
            chart(
                f"{name.capitalize()} during training",
                f"The {name} changes {trend}.",
                svg,
                Table(f"{name} during training", ("images", "step", name), rows),
            )
        )
    return drawn


def reliability(model: ModelFacts) -> Chart:
    """Accuracy by confidence."""
    counts, confidence, correct = model.bins
    filled = counts > 0
    x, y = confidence[filled] / counts[filled], correct[filled] / counts[filled]
    rows = [
        [f"{one:.3f}", f"{other:.3f}", f"{count:.0f}"]
        for one, other, count in zip(x, y, counts[filled], strict=True)
    ]
    gap = float(np.average(np.abs(x - y), weights=counts[filled]))
    return chart(
        "Reliability: accuracy by confidence",
        f"Accuracy by confidence in {len(rows)} bins; the mean calibration error is {gap:.4f}.",
        charts.reliability(x, y, counts[filled]),
        Table("Reliability", ("confidence", "accuracy", "images"), rows),
    )
