"""`mnist-tfx experiment pooling`: both networks trained and compared, on a few hundred digits."""

import re
import subprocess
from pathlib import Path

import pytest
from doubles import browser
from doubles.local_runs import cli

from components.evaluation.results import Evaluation, Scores, SliceScores
from components.evaluation.slices import Slice
from pipeline.experiments import pooling_comparison
from pipeline.experiments.pooling_comparison import Trained
from pipeline.runs.workspace import Workspace
from trainer.training_cost import TrainingCost


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("experiment")


@pytest.fixture(scope="module")
def done(root: Path, digits: Path, digits_config: Path) -> subprocess.CompletedProcess[str]:
    options: list[str | Path] = [
        "--config",
        digits_config,
        "--set",
        "trainer.epochs=2",
        "--data-dir",
        digits,
    ]
    return cli("experiment", "pooling", "--seeds", "3", *options, "--root", root)


def test_both_are_trained_at_equal_budget_and_compared(
    done: subprocess.CompletedProcess[str], root: Path
) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "max pooling, seed 3" in done.stdout
    logs = [path.read_text() for path in root.rglob("log.txt")]
    assert ["average_pooling2d" in log for log in logs].count(True) == 1
    for where in ("clean", "translate 1", "translate 2", "rotate 1", "rotate 3"):
        shares = r" +0\.\d{4} │ +0\.\d{4} │ [+-]0\.\d{4} \[[+-]\d\.\d{4}, [+-]\d\.\d{4}\]"
        assert re.search(rf"│ {where} +│{shares}", done.stdout), where
    assert len(re.findall(r"│ (?:max|average) +│ +900 │", done.stdout)) == 2, "2 epochs of 450"
    assert done.stdout.count("the translation costs max pooling ") == 2
    assert len(Workspace(root / "experiments" / "pooling").records()) == 2
    assert Workspace(root).records() == [], "an experiment is not a run of the pipeline"


def test_its_page_has_no_errors_in_a_browser(
    done: subprocess.CompletedProcess[str], chromium: str
) -> None:
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("plots  ")]
    path = Path(line.removeprefix("plots  "))
    for size in (browser.DESKTOP, browser.PHONE):
        seen = browser.look(chromium, path, size)
        assert seen.problems == []
        assert seen.sections == ["accuracy", "robustness", "cost"]
        assert len(seen.charts) == 2
        assert seen.width_px == size[0]
    assert "trained with the same recipe on the same 900 training images" in seen.text
    assert "with seeds 3, and have the same number of parameters" in seen.text


def _trained(pooling: str, seed: int, clean: float, moved: float) -> Trained:
    def scores(where: Slice, accuracy: float) -> SliceScores:
        return SliceScores(where, Scores(1000, 1000, accuracy, 0.1, 0.01, {}), None, None)

    evaluation = Evaluation(
        (scores(Slice(), clean), scores(Slice(corruption="translate", strength=2), moved)), (), ()
    )
    return Trained(pooling, seed, evaluation, "", TrainingCost(1.0, 4, 100, 100.0))


def test_a_difference_is_reported_only_if_it_is_significant() -> None:
    trained = [
        _trained("max", 1, 0.98, 0.95),
        _trained("average", 1, 0.98, 0.85),
        _trained("max", 2, 0.99, 0.93),
        _trained("average", 2, 0.98, 0.85),
    ]
    clean, moved = pooling_comparison.conclusions(trained)
    assert clean.startswith("clean: no significant difference (+0.0050) (95 % interval -0.00")
    assert moved.startswith("translate 2: max pooling is better, by 0.0900 (95 % interval +0.07")
    assert moved.endswith(
        "costs max pooling 0.0450 and average pooling 0.1300 of its accuracy on clean images"
    )
    table = pooling_comparison.accuracy_table(trained, with_seeds=True)
    assert table.rows[1][1:3] == ["0.9400 (0.9500, 0.9300)", "0.8500 (0.8500, 0.8500)"]


def test_seeds_are_numbers(root: Path) -> None:
    wrong = cli("experiment", "pooling", "--seeds", "1,x", "--root", root)
    assert wrong.returncode == 2
    assert wrong.stderr == "mnist-tfx: --seeds 1,x: expected numbers, such as 1,2,3.\n"
