"""The model card: what a user of the model should know, as Markdown and as HTML.

The sections are those of M. Mitchell et al., *Model Cards for Model Reporting*, 2019,
arXiv:1810.03993.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from components.evaluation.metrics import LABELS
from components.names.splits import EVAL, TEST, TRAIN
from components.report.page import Table, interval, render
from components.report.run_facts import RunFacts
from trainer import features

MARKDOWN: Final = "model_card.md"
HTML: Final = "model_card.html"
_VERSION: Final = "<!-- version -->{}<!-- end of version -->"
_NOT_PUSHED: Final = "not pushed"


@dataclass(frozen=True)
class Section:
    """One section of the card."""

    title: str
    items: tuple[str, ...]
    """Sentences."""

    tables: tuple[Table, ...] = ()


def render_markdown(facts: RunFacts) -> str:
    """The card as Markdown."""
    lines = [f"# Model card: {facts.pipeline}", "", f"Version: {_VERSION.format(_NOT_PUSHED)}"]
    for section in _sections(facts):
        lines += ["", f"## {section.title}", "", *(f"- {item}" for item in section.items)]
        for table in section.tables:
            lines += ["", f"{table.caption}:", "", *_table(table)]
    return "\n".join(lines) + "\n"


def render_html(facts: RunFacts) -> str:
    """The card as a page like the report."""
    version = Markup(_VERSION.format(_NOT_PUSHED))  # noqa: S704 - a constant
    return render(
        "model_card.html.j2",
        name=facts.pipeline,
        version=version,
        sections=list(_sections(facts)),
    )


def with_version(card: str, version: str) -> str:
    """A card, in either format, with the version that was pushed."""
    pattern = _VERSION.format(_NOT_PUSHED)
    return re.sub(re.escape(pattern), lambda _: version, card)


def _table(table: Table) -> Iterator[str]:
    yield f"| {' | '.join(table.headings)} |"
    yield "|---" * len(table.headings) + "|"
    for row in table.rows:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"


def _sections(facts: RunFacts) -> Iterator[Section]:
    names = ", ".join(facts.class_names)
    overall = facts.evaluation.overall.candidate
    cost = facts.training.cost
    splits = {name: f"{split.images:,}" for name, split in facts.data.splits.items()}
    yield Section(
        "Model details",
        (
            "A convolutional network: three blocks of convolutions and "
            "pooling, two dense layers (`trainer/model.py`).",
            f"Evaluated by the run {facts.run_id} on {facts.created_at}.",
            f"Recipe: {', '.join(f'{name} {value}' for name, value in facts.recipe.items())}.",
            *(
                [f"Trained in {cost.precision}; the exported model computes in float32."]
                if cost
                else []
            ),
            f"Code, sha256: {facts.provenance['code, sha256']}.",
        ),
    )
    yield Section(
        "Intended use",
        (
            f"Recognizes one of the classes {names} in a grey image of {features.HEIGHT_PX}x"
            f"{features.WIDTH_PX} pixels, white on black.",
            "The object must be alone, upright and centred by its mass, as in the training data; "
            "`serving/images.py` converts other pictures.",
            "Not for decisions about people without a person who checks the answer.",
        ),
    )
    yield Section(
        "Factors",
        (
            "Evaluated for each class, and under corruptions of MNIST-C at several strengths.",
            "Not evaluated by writer or by device: the data does not name them.",
        ),
    )
    gates = _limits(facts)
    off = f" Off: {', '.join(facts.gates_off)}." if facts.gates_off else ""
    yield Section(
        "Metrics",
        (
            "Accuracy, cross-entropy (loss), expected calibration error; intervals are 95 %.",
            f"Required for a push: {'; '.join(gates) or 'nothing'}.{off}",
        ),
    )
    yield Section(
        "Evaluation data",
        (
            f"The split {TEST}: {splits[TEST]} images, which were not used for training.",
            f"Under corruptions: {facts.robustness_images:,} of them.",
        ),
    )
    yield Section(
        "Training data",
        (
            f"{splits[TRAIN]} images; {splits[EVAL]} more were held out.",
            *(
                f"{name}: {value}"
                for name, value in facts.provenance.items()
                if name.startswith("data")
            ),
        ),
    )
    yield Section(
        "Quantitative analyses",
        (
            f"Accuracy {overall.accuracy:.4f} {interval(overall.accuracy_interval)}, loss "
            f"{overall.loss:.4f}, calibration error {overall.calibration_error:.4f}.",
        ),
        (_classes(facts), _corruptions(facts)),
    )
    yield Section(
        "Ethical considerations",
        ("Handwriting can identify a writer; images of other sources can show people.",),
    )
    hardest = min(facts.evaluation.digits, key=lambda found: found.candidate.accuracy)
    yield Section(
        "Caveats and recommendations",
        (
            "The network gives an answer for every image, also for one that shows none of the "
            "classes, or several. Reject answers with a low probability.",
            f"The most difficult class is {facts.class_names[hardest.slice.digit or 0]}.",
            "Measure again on images of your own source before use: other cameras, pens or writers "
            "change the accuracy.",
        ),
    )


def _limits(facts: RunFacts) -> list[str]:
    """The limits of a push, without those that compare with the champion."""
    limits = []
    for gate in facts.evaluation.gates:
        if gate.is_change:
            continue
        where = " on each class" if gate.slice.digit is not None else gate.slice.phrase
        sign = "≥" if gate.is_lower_bound else "≤"
        limits.append(f"{LABELS[gate.metric]}{where} {sign} {gate.limit:g}")
    return list(dict.fromkeys(limits))


def _classes(facts: RunFacts) -> Table:
    rows = [
        [
            facts.class_names[found.slice.digit or 0],
            f"{found.candidate.examples:,}",
            f"{found.candidate.accuracy:.4f}",
            interval(found.candidate.accuracy_interval),
        ]
        for found in facts.evaluation.digits
    ]
    return Table("By class", ("class", "images", "accuracy", "95 % interval"), rows)


def _corruptions(facts: RunFacts) -> Table:
    """The accuracy at the largest strength of each corruption."""
    rows = []
    for name in facts.evaluation.corruptions:
        last = facts.evaluation.robustness(name)[-1]
        accuracy = f"{last.candidate.accuracy:.4f}"
        rows.append([name, str(last.slice.strength), accuracy])
    return Table(
        "By corruption, at its largest strength", ("corruption", "strength", "accuracy"), rows
    )
