"""Renders the report of a run: facts in, one self-contained HTML file out."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from components.evaluation.metrics import ACCURACY, CALIBRATION_ERROR, LABELS, LOSS
from components.evaluation.results import Evaluation, Scores, SliceScores
from components.evaluation.slice_features import IDENTITY
from components.evaluation.slices import Slice
from components.images import corruptions
from components.report import pictures, run_charts, wording
from components.report.data_facts import DataFacts
from components.report.model_facts import Mistake
from components.report.page import Table, interval, render
from components.report.run_facts import RunFacts

SECTIONS: Final = {
    "outcome": "Outcome",
    "data": "Data",
    "training": "Training",
    "metrics": "Metrics and gates",
    "classes": "Classes",
    "confusion": "Confusion matrix",
    "mistakes": "Worst mistakes",
    "robustness": "Robustness",
    "champion": "Champion",
    "provenance": "Provenance",
}
_LIKELY: Final = 3  # probabilities that are shown of a mistake


def render_run(facts: RunFacts) -> str:
    """The report of a run, as HTML."""
    evaluation = facts.evaluation
    overall = evaluation.overall
    digits = evaluation.digits
    return render(
        "run.html.j2",
        facts=facts,
        sections=SECTIONS.items(),
        rejections=evaluation.rejections,
        overall=overall.candidate,
        change=overall.candidate.accuracy - overall.champion.accuracy if overall.champion else None,
        worst=min(digits, key=lambda found: found.candidate.accuracy),
        conclusion=wording.conclusion(facts.evaluation, facts.class_names),
        class_names=facts.class_names,
        named=functools.partial(wording.named, facts.class_names),
        gates=[gate for gate in evaluation.gates if gate.is_change or gate.slice.digit is None],
        charts={
            "balance": run_charts.balance(facts),
            "brightness": run_charts.brightness(facts.data),
            "training": run_charts.training(facts.training),
            "reliability": run_charts.reliability(facts.model),
            "robustness": {
                name: run_charts.robustness(evaluation, name) for name in evaluation.corruptions
            },
        },
        strips={
            name: pictures.data_uri(pictures.sheet(images, len(images)))
            for name, images in facts.corrupted.items()
        },
        reported=_reported(evaluation),
        training_summary=_training_summary(facts),
        pixel_table=_pixel_table(facts.data),
        samples=pictures.data_uri(_sample_sheet(facts.data.samples)),
        class_table=_class_table(facts),
        confusion=_confusion(facts.confusion),
        mistakes=[_mistake(mistake) for mistake in facts.model.worst],
        robustness_images=facts.robustness_images,
        has_robustness_gates=any(g.slice.corruption != IDENTITY for g in evaluation.gates),
        direction_table=_direction_table(evaluation),
        champion_table=_champion_table("Accuracy", [overall, *digits], facts.class_names),
        champion_robustness=_champion_table(
            "Accuracy under each corruption",
            [found for name in evaluation.corruptions for found in evaluation.robustness(name)],
            facts.class_names,
        ),
        artifact_table=Table("Artifacts of this run", ("artifact", "id", "place"), facts.artifacts),
        version_table=Table("Versions", ("package", "version"), list(facts.versions.items())),
    )


def _reported(evaluation: Evaluation) -> list[tuple[str, float]]:
    """The metrics on all clean test images without a threshold."""
    own = evaluation.overall.candidate
    gated = {gate.metric for gate in evaluation.gates if gate.slice == Slice()}
    values = {
        ACCURACY: own.accuracy,
        LOSS: own.loss,
        CALIBRATION_ERROR: own.calibration_error,
    }
    return [(LABELS[metric], value) for metric, value in values.items() if metric not in gated]


def _training_summary(facts: RunFacts) -> str:
    recipe = ", ".join(f"{name} {value}" for name, value in facts.recipe.items())
    cost = facts.training.cost
    shown = (
        f"The training showed the network {cost.images:,} images in {cost.seconds:.0f} s, in "
        f"{cost.precision}. "
        if cost
        else ""
    )
    return f"{shown}Recipe: {recipe}."


def _pixel_table(data: DataFacts) -> Table:
    rows = [
        [
            name,
            f"{split.images:,}",
            f"{split.mean_brightness:.2f}",
            f"{split.std_brightness:.2f}",
        ]
        for name, split in data.splits.items()
    ]
    headings = ("split", "images", "mean pixel", "standard deviation between images")
    return Table("Pixel statistics, 0 to 255", headings, rows)


def _sample_sheet(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    digits, each, height, width = samples.shape
    return pictures.sheet(samples.reshape(digits * each, height, width), each)


def _class_table(facts: RunFacts) -> Table:
    minimum = {
        gate.slice.digit: gate
        for gate in facts.evaluation.gates
        if gate.metric == ACCURACY and not gate.is_change and gate.slice.digit is not None
    }
    headings = ["class", "images", "accuracy", "95 % interval", "minimum", "loss", "calibration"]
    rows = []
    for found in facts.evaluation.digits:
        own, digit = found.candidate, found.slice.digit or 0
        gate = minimum.get(digit)
        rows.append(
            [
                facts.class_names[digit],
                f"{own.examples:,}",
                f"{own.accuracy:.4f}",
                interval(own.accuracy_interval),
                f"{gate.limit:g} {'✓' if gate.passed else '✗'}" if gate else "-",
                f"{own.loss:.4f}",
                f"{own.calibration_error:.4f}",
            ]
        )
    return Table("The candidate on the clean test images of each class", headings, rows)


def _direction_table(evaluation: Evaluation) -> Table:
    """Accuracy of translated images: a row for each distance, a column for each direction."""
    columns = {
        direction: evaluation.robustness(corruptions.TRANSLATE, direction)
        for direction in corruptions.DIRECTIONS
    }
    pixels = [run_charts.strength(found) for found in next(iter(columns.values()))]
    rows = [
        [str(distance), *(_value(column[place].candidate) for column in columns.values())]
        for place, distance in enumerate(pixels)
    ]
    return Table("Accuracy of translated images", ("pixels", *columns), rows)


def _champion_table(
    caption: str, slices: Sequence[SliceScores], class_names: Sequence[str]
) -> Table | None:
    """None without a champion."""
    rows = []
    for found in slices:
        if found.champion is None:
            return None
        rows.append(
            [
                wording.named(class_names, found.slice.name),
                f"{found.champion.accuracy:.4f}",
                f"{found.candidate.accuracy:.4f}",
                f"{found.candidate.accuracy - found.champion.accuracy:+.4f}",
                interval(found.accuracy_change, "%+.4f"),
            ]
        )
    headings = ("images", "champion", "candidate", "change", "95 % interval")
    return Table(caption, headings, rows)


class _Cell(NamedTuple):
    images: int
    shade: float | None  # 0 to 1; None on the diagonal


def _confusion(matrix: NDArray[np.int64]) -> list[list[_Cell]]:
    """Mistakes are shaded relative to the most frequent one; the diagonal would outshine them."""
    mistakes = matrix * (1 - np.eye(len(matrix), dtype=int))
    most = max(int(mistakes.max()), 1)
    return [
        [
            _Cell(int(count), None if row == column else 0.75 * int(count) / most)
            for column, count in enumerate(counts)
        ]
        for row, counts in enumerate(matrix)
    ]


def _mistake(mistake: Mistake) -> dict[str, Any]:
    likely = np.argsort(-mistake.probabilities)[:_LIKELY].tolist()
    if mistake.label not in likely:
        likely[-1] = mistake.label
    return {
        "index": mistake.index,
        "label": mistake.label,
        "predicted": mistake.predicted,
        "picture": pictures.data_uri(mistake.image),
        "likely": [(digit, float(mistake.probabilities[digit])) for digit in likely],
    }


def _value(scores: Scores) -> str:
    return f"{scores.accuracy:.4f} {interval(scores.accuracy_interval)}"
