"""Sentences of the report."""

from __future__ import annotations

import re
from collections.abc import Sequence

from components.evaluation.results import Evaluation
from components.report.page import interval
from trainer import features


def conclusion(evaluation: Evaluation, class_names: Sequence[str]) -> str:
    """What a reader should conclude, in two sentences."""
    overall = evaluation.overall
    worst = min(evaluation.digits, key=lambda found: found.candidate.accuracy)
    name = class_names[worst.slice.digit or 0]
    first = (
        f"The model recognizes {overall.candidate.accuracy:.2%} of the test images; the worst "
        f"class is {name} with {worst.candidate.accuracy:.2%}."
    )
    if overall.champion and overall.accuracy_change:
        change = overall.candidate.accuracy - overall.champion.accuracy
        low, high = overall.accuracy_change
        if low <= 0 <= high:
            verdict = "does not differ clearly from"
        else:
            verdict = "is better than" if change > 0 else "is worse than"
        difference = f"{change:+.4f} {interval(overall.accuracy_change, '%+.4f')}"
        return f"{first} It {verdict} the champion: the accuracy changes by {difference}."
    corrupted = [found for name in evaluation.corruptions for found in evaluation.robustness(name)]
    if not corrupted:
        return first
    hardest = min(corrupted, key=lambda found: found.candidate.accuracy)
    accuracy = hardest.candidate.accuracy
    return f"{first} Of the corruptions, {hardest.slice.name} is the hardest, with {accuracy:.2%}."


def named(class_names: Sequence[str], text: str) -> str:
    """The text of a gate with the name of the class: "Shirt" instead of "digit 6"."""
    if tuple(class_names) == features.CLASS_NAMES:
        return text
    return re.sub(r"\bdigit (\d)\b", lambda found: class_names[int(found[1])], text)
