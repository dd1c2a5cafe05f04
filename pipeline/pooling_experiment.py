"""Max against average pooling: the same recipe and seeds, both ways, side by side.

What is put to the test is the reference's claim that max pooling makes a network invariant to
small translations. Each model is trained and evaluated by the pipeline itself, up to the
Evaluator, in a workspace of the experiment's own; what is there already is taken from the cache.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

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
from trainer import features
from trainer.hparams import POOLINGS

if TYPE_CHECKING:
    from components.report.page import Table
    from pipeline.pooling_comparison import Trained

FOLDER: Final = Path("experiments") / "pooling"
PAGE: Final = "pooling.html"
EVALUATOR: Final = "Evaluator"
_ROUNDS: Final = 5  # of timing both models in turn
_TIMED_IMAGES: Final = 2000


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
        from pipeline import pooling_comparison

        trained = []
        for pooling, seed, event in found:
            cost = json.loads(
                (Path(event.model_run) / features.COST_FILE).read_text(encoding="utf-8")
            )
            trained.append(
                pooling_comparison.Trained(
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
    costs = pooling_comparison.cost_table(trained, inference)
    findings = pooling_comparison.conclusions(trained)
    means = pooling_comparison.accuracy_table(trained, with_seeds=False)
    console.print(_on_screen(means), _on_screen(costs))
    for sentence in findings:
        console.print(f"• {sentence}", highlight=False, soft_wrap=True)
    page = workspace.root / PAGE
    each = pooling_comparison.accuracy_table(trained, with_seeds=True)
    text = pooling_comparison.render(trained, findings, each, costs)
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


def _on_screen(table: Table) -> ScreenTable:
    shown = ScreenTable(title=table.caption, title_justify="left")
    for place, heading in enumerate(table.headings):
        shown.add_column(heading, justify="right" if place else "left")
    for row in table.rows:
        shown.add_row(*row)
    return shown
