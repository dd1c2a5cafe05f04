"""The model card in both formats; test_local_run.py reads that of a pushed version."""

from pathlib import Path

import pytest
from doubles import browser

from components.report import model_card
from components.report.run_facts import RunFacts

TITLES = [
    "Model details",
    "Intended use",
    "Factors",
    "Metrics",
    "Evaluation data",
    "Training data",
    "Quantitative analyses",
    "Ethical considerations",
    "Caveats and recommendations",
]


def test_the_sections_are_those_of_model_cards(facts: RunFacts) -> None:
    card = model_card.render_markdown(facts)
    assert [line[3:] for line in card.splitlines() if line.startswith("## ")] == TITLES
    for text in (
        "# Model card: digits",
        "- Evaluated by the run run-7 on 2026-01-01 12:00 UTC.",
        "- Trained in float32; the exported model computes in float32.",
        "- Required for a push: accuracy ≥ 0.95; accuracy under translate 1 ≥ 0.8. Off: ",
        "- data, sha256: " + "ab" * 32,
        "- Accuracy 0.9700 [",
        "| 4 | 100 | 0.9400 |",
        "| translate | 2 | 0.4500 |",
        "The most difficult class is 0.",
    ):
        assert text in card, text


@pytest.mark.parametrize("render", [model_card.render_markdown, model_card.render_html])
def test_a_pushed_version_is_named(facts: RunFacts, render: object) -> None:
    card = render(facts)  # type: ignore[operator]
    assert "not pushed" in card
    pushed = model_card.with_version(card, "1795672195")
    assert "Version: 1795672195" in pushed
    assert "not pushed" not in pushed


def test_the_page_has_no_errors_in_a_browser(
    tmp_path: Path, facts: RunFacts, chromium: str
) -> None:
    path = tmp_path / "card.html"
    path.write_text(model_card.render_html(facts), encoding="utf-8")
    for size in (browser.DESKTOP, browser.PHONE):
        seen = browser.look(chromium, path, size)
        assert seen.problems == []
        assert seen.width_px == size[0]
    assert [title for title in TITLES if title not in seen.text] == []
