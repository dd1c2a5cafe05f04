"""The page of the report: its content, and its behaviour in a real browser.

tests/integration/test_local_run.py opens the page of a real run.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from doubles import browser

from components.evaluation.gates import Gate
from components.evaluation.metrics import ACCURACY
from components.evaluation.results import Evaluation, Interval, Scores, SliceScores
from components.evaluation.slices import Slice
from components.images.idx_format import ImagesAndLabels
from components.report import outcome, run_page, wording
from components.report.data_facts import DataFacts, Measurement, SplitFacts
from components.report.model_facts import Mistake, ModelFacts
from components.report.outcome import NodeRun, Outcome
from components.report.run_facts import RunFacts
from components.report.training_facts import TrainingFacts
from trainer.training_cost import TrainingCost

CHARTS = 7  # balance, brightness, loss, accuracy, reliability, two corruptions


def _scores(examples: int, accuracy: float) -> Scores:
    return Scores(examples, examples, accuracy, 0.1, 0.02, {ACCURACY: Interval(0.1, 0.2)})


def _slice(where: Slice, accuracy: float, champion: float | None) -> SliceScores:
    return SliceScores(
        slice=where,
        candidate=_scores(100, accuracy),
        champion=None if champion is None else _scores(100, champion),
        accuracy_change=None if champion is None else Interval(-0.01, 0.03),
    )


def _evaluation(champion: float | None = None, rejections: tuple[str, ...] = ()) -> Evaluation:
    slices = [_slice(Slice(), 0.97, champion)]
    slices += [_slice(Slice(digit=digit), 0.9 + digit / 100, champion) for digit in range(10)]
    for strength in (1, 2):
        where = Slice(corruption="translate", strength=strength)
        slices.append(_slice(where, 0.9 / strength, champion))
        for direction in ("left", "right", "up", "down"):
            moved = where._replace(direction=direction)
            slices.append(_slice(moved, 0.8 / strength, champion))
    slices.append(_slice(Slice(corruption="rotate", strength=3), 0.5, champion))
    gates = (
        Gate(ACCURACY, Slice(), 0.97, 0.95, True, False, passed=True),
        Gate(ACCURACY, Slice(digit=4), -0.1, -0.05, True, True, passed=not rejections),
        Gate(ACCURACY, Slice(corruption="translate", strength=1), 0.9, 0.8, True, False, True),
    )
    return Evaluation(tuple(slices), gates, rejections)


@pytest.fixture
def facts(test_digits: ImagesAndLabels) -> RunFacts:
    shares = np.full(10, 0.1)
    split = SplitFacts(300, shares, (np.linspace(0, 255, 11), shares), 33.3, 11.2)
    probabilities = np.array([0.01] * 10, np.float32)
    probabilities[3], probabilities[8] = 0.7, 0.22
    mistake = Mistake(17, test_digits.images[17], 8, 3, probabilities)
    bins = np.zeros((3, 15))
    bins[:, 9:] = [[2.0] * 6, [1.3] * 6, [1.0] * 6]
    return RunFacts(
        pipeline="digits",
        created_at="2026-01-01 12:00 UTC",
        run_id="run-7",
        data=DataFacts(
            splits={"train": split, "eval": split, "test": split},
            samples=np.stack([test_digits.images[:12]] * 10),
            measurements=(
                Measurement("skew", "brightness, test and train", 0.012, 0.05),
                Measurement("images and labels", "label agreement, test", 0.82, 0.7, True),
                Measurement("class balance", "labels, test", 0.004, None),
            ),
            anomalies=(),
            span=3,
            trained_spans=(2, 3),
            reference_span=2,
        ),
        training=TrainingFacts(
            train={"loss": [(50, 2.0), (100, 0.5)], "accuracy": [(50, 0.3), (100, 0.9)]},
            held_out={"loss": [(100, 0.4)], "accuracy": [(100, 0.93)]},
            cost=TrainingCost(12.0, 100, 3200, 3200 / 12),
        ),
        evaluation=_evaluation(),
        confusion=np.diag([30] * 10) + np.eye(10, k=1, dtype=int),
        model=ModelFacts(300, 1, (mistake,), bins),
        class_names=[str(digit) for digit in range(10)],
        expected_shares=[0.1] * 10,
        robustness_images=100,
        corrupted={
            "translate": test_digits.images[:3],
            "rotate": test_digits.images[:2],
        },
        provenance={"data, sha256": "ab" * 32, "code, sha256": "cd" * 32},
        artifacts=[("model", "12", "/artifacts/Trainer/model/12")],
        versions={"tfx": "1.21.0"},
        recipe={"seed": 1, "pooling": "max"},
        gates_off=["validation.max_share_change"],
        configuration='{"name": "digits"}',
    )


def _write(folder: Path, facts: RunFacts) -> Path:
    path = folder / "report.html"
    path.write_text(run_page.render_run(facts), encoding="utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [browser.DESKTOP, browser.PHONE])
def test_the_page_has_no_errors_in_a_browser(
    tmp_path: Path, facts: RunFacts, chromium: str, size: tuple[int, int], scheme: str
) -> None:
    seen = browser.look(chromium, _write(tmp_path, facts), size, scheme)  # type: ignore[arg-type]
    assert seen.problems == []
    assert seen.sections == list(run_page.SECTIONS)
    assert seen.images == 4, "the samples, the mistake, and a strip for each corruption"
    assert seen.undrawn == []
    assert len(seen.charts) == CHARTS
    assert all(alternative.endswith(".") for alternative in seen.charts)
    assert seen.without_alternative == 0
    assert seen.width_px == size[0], "nothing sticks out"
    red, green, blue = map(int, seen.background[4:-1].split(", "))
    assert (red + green + blue < 150) == (scheme == "dark")


def test_the_page_of_a_good_run(tmp_path: Path, facts: RunFacts, chromium: str) -> None:
    seen = browser.look(chromium, _write(tmp_path, facts))
    assert seen.title == "digits: blessed, accuracy 0.9700"
    for text in (
        "✓ blessed",
        "worst class\n0: 0.9000",
        "Span 3; trained on spans 2, 3. Drift is measured from span 2.",
        "✓ blessed, 1 gate is off",
        "labels, test\t0.0040\treported only\t–",
        "loss\t0.1000\treported only\t–",
        "3,200 images shown in 12 s. Recipe: seed 1, pooling max.",
        "skew\nbrightness, test and train\t0.0120\t≤ 0.05\t✓ yes",
        "accuracy under translate 1\t0.9000\t≥ 0.8\t✓ yes",
        "8 predicted as 3 #17",
        "This page was written before the push.",
        "the worst class is 0 with 90.00%. Of the corruptions, translate 2 is the hardest, with 45",
        "0.700",
        "There is no champion",
        "cd" * 32,
    ):
        assert text in seen.text, text
    alternatives = "\n".join(seen.charts)
    assert "Accuracy by pixels of translate: candidate from 0.970 at 0 to 0.450 at 2." in (
        alternatives
    )
    assert (
        "The loss changes from 2.0000 to 0.5000 over 100 steps; 0.4000 on held-out" in alternatives
    )


def test_a_rejected_candidate_is_shown_with_the_digit(
    tmp_path: Path, facts: RunFacts, chromium: str
) -> None:
    reason = "accuracy on digit 4 is 0.1000 below the champion's; the limit is 0.05"
    rejected = replace(facts, evaluation=_evaluation(champion=0.95, rejections=(reason,)))
    seen = browser.look(chromium, _write(tmp_path, rejected))
    assert seen.title == "digits: rejected, accuracy 0.9700"
    assert reason in seen.text
    assert "accuracy on digit 4, compared with the champion\t-0.1000\t≥ -0.05\t✗ no" in seen.text
    assert "all test images\t0.9500\t0.9700\t+0.0200\t[-0.0100, +0.0300]" in seen.text
    assert "champion from 0.950 at 0" in "\n".join(seen.charts)


def test_classes_have_their_names(tmp_path: Path, facts: RunFacts, chromium: str) -> None:
    names = [f"garment {letter}" for letter in "ABCDEFGHIJ"]
    reason = "accuracy on digit 4 is 0.1000 below the champion's; the limit is 0.05"
    evaluation = _evaluation(champion=0.95, rejections=(reason,))
    seen = browser.look(
        chromium, _write(tmp_path, replace(facts, class_names=names, evaluation=evaluation))
    )
    for text in (
        "accuracy on garment E is 0.1000 below",
        "accuracy on garment E, compared with the champion\t-0.1000",
        "garment I predicted as garment D #17",
        "the worst class is garment A",
        "garment A\t0.9500",
    ):
        assert text in seen.text, text
    assert "digit 4" not in seen.text


OUTCOME = Outcome(
    pushed="1795672195",
    is_new=True,
    rejections=(),
    server="embedded",
    latency_p99_ms=12.34,
    nodes=(
        NodeRun("Gen", "cached", 0.0, ()),
        NodeRun("Trainer", "done", 92.14, ("Gen",)),
        NodeRun("Evaluator", "done", 41.0, ("Gen", "Trainer")),
    ),
    seconds=170.4,
    facts={"commit": "abc", "processor": "<b>8086</b>"},
)


def test_the_end_of_the_run_completes_the_page(
    tmp_path: Path, facts: RunFacts, chromium: str
) -> None:
    page = outcome.complete(run_page.render_run(facts), OUTCOME)
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    seen = browser.look(chromium, tmp_path / "report.html")
    assert seen.problems == []
    assert seen.title == "digits: pushed, accuracy 0.9700"
    for text in (
        "✓ pushed, 1 gate is off",
        "The model is served as version 1795672195.",
        "gives the model's own answers; the 99th percentile of its latency is 12.3 ms.",
        "The run took 170 s.",
        "✓ done, 92.1 s",
        "<b>8086</b>",
    ):
        assert text in seen.text, text
    assert "before the push" not in seen.text
    lines = re.findall(r'<path d="M\d+ \d+C', page)
    assert len(lines) == 2, "Gen to Evaluator is implied by the other two"


def test_all_reasons_of_a_rejection_are_on_the_page(facts: RunFacts) -> None:
    rejected = replace(OUTCOME, pushed=None, rejections=("too low", "too slow"))
    page = outcome.complete(run_page.render_run(facts), rejected)
    assert "<title>digits: rejected, accuracy 0.9700</title>" in page
    assert '<li class="bad">too low</li><li class="bad">too slow</li>' in page
    assert "is served as" not in page


@pytest.mark.parametrize(
    ("change", "interval", "verdict"),
    [
        (0.95, Interval(-0.01, 0.03), "is not distinguishable from"),
        (0.95, Interval(0.01, 0.03), "is better than"),
        (0.99, Interval(-0.04, -0.01), "is worse than"),
    ],
)
def test_the_conclusion_compares_with_the_champion(
    change: float, interval: Interval, verdict: str
) -> None:
    evaluation = _evaluation(champion=change)
    overall = replace(evaluation.overall, accuracy_change=interval)
    evaluation = replace(evaluation, slices=(overall, *evaluation.slices[1:]))
    text = wording.conclusion(evaluation, [str(digit) for digit in range(10)])
    assert f"It {verdict} the champion: the accuracy changes by {0.97 - change:+.4f}" in text


def test_text_from_users_is_escaped(tmp_path: Path, facts: RunFacts, chromium: str) -> None:
    """A configuration or a path can contain any character."""
    hostile = replace(
        facts,
        configuration="</pre><script>throw Error('ran')</script>",
        provenance={"data": "<img src=x onerror=\"throw Error('ran')\">"},
    )
    seen = browser.look(chromium, _write(tmp_path, hostile))
    assert seen.problems == []
    assert seen.images == 4
    assert "<img src=x" in seen.text


def test_the_same_facts_give_the_same_bytes_in_the_pages_own_colours(
    facts: RunFacts,
) -> None:
    text = run_page.render_run(facts)
    assert text == run_page.render_run(facts)
    assert "var(--series-1)" in text
    assert "#0102" not in text, "a placeholder that was not replaced is black on black in the dark"
