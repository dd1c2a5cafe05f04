"""Max against average pooling: the same recipe and seeds, both ways, side by side.

What is put to the test is the reference's claim that max pooling makes a network invariant to
small translations. Each model is trained and evaluated by the pipeline itself, up to the
Evaluator, in a workspace of the experiment's own; what is there already is taken from the cache.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table as ScreenTable

from pipeline import data as data_files
from pipeline import events, local_session, native_output
from pipeline.config import PipelineConfig, changed_recipe
from pipeline.errors import PipelineError
from pipeline.run_view import RunView
from pipeline.runners import local
from pipeline.workspace import Workspace

if TYPE_CHECKING:
    from components.evaluation_results import Evaluation, Scores
    from components.report.page import Table

POOLINGS: Final = ("max", "average")
TRANSLATE: Final = "translate"  # components/corruptions.py, which imports SciPy
FOLDER: Final = Path("experiments") / "pooling"
PAGE: Final = "pooling.html"
EVALUATOR: Final = "Evaluator"
_ROUNDS: Final = 5  # of timing both models in turn
_TIMED_IMAGES: Final = 2000


class Trained(NamedTuple):
    """One model, and what is known of it."""

    pooling: str
    seed: int
    evaluation: Evaluation
    model: str
    """The SavedModel's folder."""

    train_images: int
    train_seconds: float
    train_images_per_s: float


def run(
    config: PipelineConfig,
    root: Path,
    data_dir: Path | None,
    seeds: Sequence[int],
    console: Console,
) -> Path:
    """Trains and evaluates the models, prints how they compare, and writes a page with plots.

    Returns:
      The page.

    Raises:
      PipelineError: a run did not reach the Evaluator.
    """
    data = local_session.prepare_data(config.data, data_dir, console)
    workspace = Workspace(root / FOLDER)
    found: list[tuple[str, int, events.Evaluated]] = []
    for seed in seeds:
        for pooling in POOLINGS:
            console.print(f"\n{pooling} pooling, seed {seed}", style="bold")
            changes = {"pooling": pooling, "seed": seed}
            recipe = changed_recipe(config.trainer, changes)
            chosen = config.model_copy(update={"trainer": recipe})
            found.append((pooling, seed, _evaluate(chosen, workspace, data, console)))
    with native_output.muted():
        from components import evaluation_results, idx_format
        from trainer.run import COST_FILE

        trained = []
        for pooling, seed, event in found:
            cost = json.loads((Path(event.model_run) / COST_FILE).read_text(encoding="utf-8"))
            trained.append(
                Trained(
                    pooling,
                    seed,
                    evaluation_results.read(event.evaluation),
                    event.model,
                    cost["images"],
                    cost["seconds"],
                    cost["images_per_s"],
                )
            )
        if config.data.span != "none":
            data = data_files.folder_of_span(data, config.data.span_folder, config.data.span)
        pair = idx_format.read_pair(*idx_format.find_pair(data, "t10k-*"))
        inference = _time_inference(trained, pair.images[:_TIMED_IMAGES])
    cost = _cost_table(trained, inference)
    findings = conclusions(trained)
    console.print(_on_screen(accuracy_table(trained, with_seeds=False)), _on_screen(cost))
    for sentence in findings:
        console.print(f"• {sentence}", highlight=False, soft_wrap=True)
    page = workspace.root / PAGE
    text = _page(trained, findings, accuracy_table(trained, with_seeds=True), cost)
    page.write_text(text, encoding="utf-8")
    console.print(f"\nplots  {page}", highlight=False, soft_wrap=True)
    return page


def _evaluate(
    config: PipelineConfig, workspace: Workspace, data: Path, console: Console
) -> events.Evaluated:
    evaluated: list[events.Evaluated] = []
    run_id = local.new_run_id()
    with RunView(console) as view:

        def on_event(event: events.Event) -> None:
            view.on_event(event)
            if isinstance(event, events.Evaluated):
                evaluated.append(event)

        record = local.run(config, workspace, data, run_id, on_event, until=EVALUATOR)
    if not evaluated:
        log = workspace.run_folder(run_id) / local.LOG
        raise PipelineError(f"{record.message} (log: {log})")
    return evaluated[0]


def accuracy_table(trained: Sequence[Trained], with_seeds: bool) -> Table:
    """A row for each kind of test images, a column for each pooling, and the difference.

    Args:
      trained: the models.
      with_seeds: whether each seed's accuracy stands beside the mean.
    """
    from components.report.page import Table

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
    """What the numbers say of clean images and of translations; no more than they can."""
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
            verdict = f"no difference is shown ({difference:+.4f})"
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
"""A corruption, None for clean images, and a strength."""

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
    """One for each seed."""
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
    """95 %, by Newcombe's method: from Wilson's interval of each."""
    from components.evaluation_results import wilson

    count = {name: sum(one.images for one in scores) for name, scores in both.items()}
    mean = {name: _mean(scores) for name, scores in both.items()}
    bounds = {name: wilson(mean[name], count[name]) for name in both}
    difference = mean["max"] - mean["average"]
    down = math.hypot(mean["max"] - bounds["max"].low, bounds["average"].high - mean["average"])
    up = math.hypot(bounds["max"].high - mean["max"], mean["average"] - bounds["average"].low)
    return difference - down, difference + up


def _time_inference(trained: Sequence[Trained], images: NDArray[np.uint8]) -> dict[str, float]:
    """Images a second of the first model of each pooling; the median of rounds in turn."""
    from components.report import model_facts

    models = {
        name: model_facts.signature(next(one.model for one in trained if one.pooling == name))
        for name in POOLINGS
    }
    rates: dict[str, list[float]] = {name: [] for name in POOLINGS}
    for _ in range(_ROUNDS):
        for name, model in models.items():
            start_s = time.perf_counter()
            count = len(model_facts.probabilities(model, images))
            rates[name].append(count / (time.perf_counter() - start_s))
    return {name: statistics.median(found) for name, found in rates.items()}


def _cost_table(trained: Sequence[Trained], inference: Mapping[str, float]) -> Table:
    from components.report.page import Table

    rows = []
    for name in POOLINGS:
        own = [one for one in trained if one.pooling == name]
        rows.append(
            [
                name,
                f"{own[0].train_images:,}",
                f"{statistics.fmean(one.train_seconds for one in own):.1f} s",
                f"{statistics.fmean(one.train_images_per_s for one in own):.0f}",
                f"{inference[name]:.0f}",
            ]
        )
    headings = ("pooling", "images trained on", "training", "images/s", "inference, images/s")
    return Table("Cost", headings, rows)


def _page(trained: Sequence[Trained], findings: Sequence[str], accuracy: Table, cost: Table) -> str:
    from components.report import page, robustness_chart
    from components.report.robustness_chart import Point

    def point(pooling: str, where: Where) -> Point:
        scores = _scores(trained, pooling, where)
        return Point(where[1], _mean(scores), sum(one.images for one in scores))

    places: dict[str, list[Where]] = {}
    for where in _compared(trained):
        if where[0] is not None:
            places.setdefault(where[0], [_CLEAN]).append(where)
    return page.render(
        "pooling.html.j2",
        images=trained[0].train_images,
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


def _on_screen(table: Table) -> ScreenTable:
    shown = ScreenTable(title=table.caption, title_justify="left")
    for place, heading in enumerate(table.headings):
        shown.add_column(heading, justify="right" if place else "left")
    for row in table.rows:
        shown.add_row(*row)
    return shown
