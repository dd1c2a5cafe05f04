"""The page of the report: its content, and its behaviour in a real browser.

tests/integration/test_local_run.py opens the page of a real run.
"""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from doubles import browser
from doubles.report_facts import evaluation

from components.evaluation.results import Interval
from components.report import outcome, run_page, wording
from components.report.outcome import NodeRun, RunEnd
from components.report.run_facts import RunFacts

CHARTS = 7  # balance, brightness, loss, accuracy, reliability, two corruptions


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
        "The training showed the network 3,200 images in 12 s, in float32. "
        "Recipe: seed 1, pooling max.",
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
    rejected = replace(facts, evaluation=evaluation(champion=0.95, rejections=(reason,)))
    seen = browser.look(chromium, _write(tmp_path, rejected))
    assert seen.title == "digits: rejected, accuracy 0.9700"
    assert reason in seen.text
    assert "accuracy on digit 4, compared with the champion\t-0.1000\t≥ -0.05\t✗ no" in seen.text
    assert "all test images\t0.9500\t0.9700\t+0.0200\t[-0.0100, +0.0300]" in seen.text
    assert "champion from 0.950 at 0" in "\n".join(seen.charts)


def test_classes_have_their_names(tmp_path: Path, facts: RunFacts, chromium: str) -> None:
    names = [f"garment {letter}" for letter in "ABCDEFGHIJ"]
    reason = "accuracy on digit 4 is 0.1000 below the champion's; the limit is 0.05"
    rejected = evaluation(champion=0.95, rejections=(reason,))
    seen = browser.look(
        chromium, _write(tmp_path, replace(facts, class_names=names, evaluation=rejected))
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


END = RunEnd(
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
    facts={"commit": "abc", "processor": "<b>8086</b>"},
)


def test_the_end_of_the_run_completes_the_page(
    tmp_path: Path, facts: RunFacts, chromium: str
) -> None:
    page = outcome.complete(run_page.render_run(facts), END)
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    seen = browser.look(chromium, tmp_path / "report.html")
    assert seen.problems == []
    assert seen.title == "digits: pushed, accuracy 0.9700"
    for text in (
        "✓ pushed, 1 gate is off",
        "The model is served as version 1795672195.",
        "gives the model's own answers; the 99th percentile of its latency is 12.3 ms.",
        "✓ done, 92.1 s",
        "<b>8086</b>",
    ):
        assert text in seen.text, text
    assert "before the push" not in seen.text
    lines = re.findall(r'<path d="M\d+ \d+C', page)
    assert len(lines) == 2, "Gen to Evaluator is implied by the other two"


def test_all_reasons_of_a_rejection_are_on_the_page(facts: RunFacts) -> None:
    rejected = replace(END, pushed=None, rejections=("too low", "too slow"))
    page = outcome.complete(run_page.render_run(facts), rejected)
    assert "<title>digits: rejected, accuracy 0.9700</title>" in page
    assert '<li class="bad">too low</li><li class="bad">too slow</li>' in page
    assert "is served as" not in page


@pytest.mark.parametrize(
    ("change", "interval", "verdict"),
    [
        (0.95, Interval(-0.01, 0.03), "does not differ clearly from"),
        (0.95, Interval(0.01, 0.03), "is better than"),
        (0.99, Interval(-0.04, -0.01), "is worse than"),
    ],
)
def test_the_conclusion_compares_with_the_champion(
    change: float, interval: Interval, verdict: str
) -> None:
    found = evaluation(champion=change)
    overall = replace(found.overall, accuracy_change=interval)
    found = replace(found, slices=(overall, *found.slices[1:]))
    text = wording.conclusion(found, [str(digit) for digit in range(10)])
    assert f"It {verdict} the champion: the accuracy changes by {0.97 - change:+.4f}" in text
    assert "The largest clear change is" not in text, "the corrupted images have no intervals"


def test_the_conclusion_names_the_corruption_that_changed_most() -> None:
    found = evaluation(champion=0.95)
    changes: dict[tuple[str, int | None], Interval] = {
        ("translate", 1): Interval(-0.06, -0.04),
        ("translate", 2): Interval(-0.6, 0.1),  # may be chance
        ("rotate", 3): Interval(-0.5, -0.4),
    }
    slices = [
        replace(each, accuracy_change=changes.get((each.slice.corruption, each.slice.strength)))
        for each in found.slices
    ]
    slices[0] = replace(slices[0], accuracy_change=Interval(0.01, 0.03))
    text = wording.conclusion(
        replace(found, slices=tuple(slices)), [str(digit) for digit in range(10)]
    )
    assert text.endswith("The largest clear change is for rotate 3: from 95.00% to 50.00%.")


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
