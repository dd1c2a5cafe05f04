"""Sentences of the report."""

from __future__ import annotations

import re
from collections.abc import Sequence

from components.evaluation.results import Evaluation, SliceScores
from components.report.page import interval
from trainer import features


def conclusion(evaluation: Evaluation, class_names: Sequence[str]) -> str:
    """What a reader should conclude, in two or three sentences."""
    overall = evaluation.overall
    corrupted = [found for name in evaluation.corruptions for found in evaluation.robustness(name)]
    worst = min(evaluation.digits, key=lambda found: found.candidate.accuracy)
    name = class_names[worst.slice.digit or 0]
    first = (
        f"The model recognizes {overall.candidate.accuracy:.2%} of the clean test images; the "
        f"worst class is {name} with {worst.candidate.accuracy:.2%}."
    )
    if overall.champion and overall.accuracy_change:
        change = overall.candidate.accuracy - overall.champion.accuracy
        low, high = overall.accuracy_change
        if low <= 0 <= high:
            verdict = "does not differ clearly from"
        else:
            verdict = "is better than" if change > 0 else "is worse than"
        difference = f"{change:+.4f} {interval(overall.accuracy_change, '%+.4f')}"
        compared = f"It {verdict} the champion: the accuracy changes by {difference}."
        return " ".join(filter(None, [first, compared, _largest_change(corrupted)]))
    if not corrupted:
        return first
    hardest = min(corrupted, key=lambda found: found.candidate.accuracy)
    accuracy = hardest.candidate.accuracy
    return f"{first} Of the corruptions, {hardest.slice.name} is the hardest, with {accuracy:.2%}."


def _largest_change(corrupted: Sequence[SliceScores]) -> str:
    """The corruption with the largest clear change from the champion; empty if there is none."""
    changes = {
        found.slice.name: (found.champion.accuracy, found.candidate.accuracy)
        for found in corrupted
        if found.champion
        and found.accuracy_change
        and not found.accuracy_change.low <= 0 <= found.accuracy_change.high
    }
    if not changes:
        return ""
    name = max(changes, key=lambda each: abs(changes[each][1] - changes[each][0]))
    before, after = changes[name]
    return f"The largest clear change is for {name}: from {before:.2%} to {after:.2%}."


def named(class_names: Sequence[str], text: str) -> str:
    """The text of a gate with the name of the class: "Shirt" instead of "digit 6"."""
    if tuple(class_names) == features.CLASS_NAMES:
        return text
    return re.sub(r"\bdigit (\d)\b", lambda found: class_names[int(found[1])], text)
