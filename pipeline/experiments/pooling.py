"""Max against average pooling: the same recipe and the same seeds, side by side.

The experiment tests the reference's claim that max pooling makes a network invariant to small
translations. Each model is trained and evaluated by the pipeline itself, up to the Evaluator, in a
workspace of its own, where finished results are cached.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table as ScreenTable

from components.names.node_ids import NodeId
from pipeline.local import dataset_source, runner, session, span_folders
from pipeline.runs import events
from pipeline.runs.workspace import Workspace
from pipeline.settings.errors import PipelineError
from pipeline.settings.pipeline_config import PipelineConfig, changed_recipe
from pipeline.view import native_output
from pipeline.view.run_view import RunView
from trainer import features, training_cost
from trainer.hparams import POOLINGS
from trainer.training_cost import TrainingCost

if TYPE_CHECKING:
    from components.report.page import Table
    from pipeline.experiments.pooling_comparison import Trained

FOLDER: Final = Path("experiments") / "pooling"
PAGE: Final = "pooling.html"
_BATCH: Final = 256
_ROUNDS: Final = 5  # of timing the models in alternation
_TIMED_IMAGES: Final = 2000


class _Recipe(NamedTuple):
    pooling: str
    seed: int


def run(
    config: PipelineConfig,
    root: Path,
    data_dir: Path | None,
    seeds: Sequence[int],
    console: Console,
) -> Path:
    """Trains and evaluates the models, prints a comparison, and writes a page with plots.

    Returns:
      The path of the page.

    Raises:
      PipelineError: a run did not reach the Evaluator.
    """
    data = session.prepare_data(config.data, data_dir, console)
    workspace = Workspace(root / FOLDER)
    evaluated = {}
    for recipe in (_Recipe(pooling, seed) for seed in seeds for pooling in POOLINGS):
        console.print(f"\n{recipe.pooling} pooling, seed {recipe.seed}", style="bold")
        changed = changed_recipe(config.trainer, recipe._asdict())
        own_config = config.model_copy(update={"trainer": changed})
        evaluated[recipe] = _evaluate(own_config, workspace, data, console)
    files = span_folders.folder_of_files(config.data, data)
    images = dataset_source.read_test_split(files).images[:_TIMED_IMAGES]
    with native_output.muted():
        trained = [_trained(recipe, event) for recipe, event in evaluated.items()]
        inference = _time_inference(trained, images)
    return _show(trained, inference, workspace.root / PAGE, console)


def _evaluate(
    config: PipelineConfig, workspace: Workspace, data: Path, console: Console
) -> events.Evaluated:
    evaluated: list[events.Evaluated] = []
    run_id = runner.new_run_id(workspace)
    with RunView(console) as view:

        def on_event(event: events.Event) -> None:
            view.on_event(event)
            if isinstance(event, events.Evaluated):
                evaluated.append(event)

        record = runner.run(config, workspace, data, run_id, on_event, until=NodeId.EVALUATOR.value)
    if not evaluated:
        log = workspace.run_folder(run_id) / runner.LOG
        raise PipelineError(f"{record.message} (log: {log})")
    return evaluated[0]


def _trained(recipe: _Recipe, event: events.Evaluated) -> Trained:
    from components.evaluation import results
    from pipeline.experiments.pooling_comparison import Trained

    cost_file = Path(event.model_run) / training_cost.FILE
    return Trained(
        pooling=recipe.pooling,
        seed=recipe.seed,
        evaluation=results.read(event.evaluation),
        model=event.model,
        cost=TrainingCost.from_json(cost_file.read_text(encoding="utf-8")),
    )


def _time_inference(trained: Sequence[Trained], images: NDArray[np.uint8]) -> dict[str, float]:
    """The images per second of the first model of each pooling; the median of several rounds."""
    import tensorflow as tf

    models = {
        name: tf.saved_model.load(next(one.model for one in trained if one.pooling == name))
        for name in POOLINGS
    }
    batches = [
        tf.constant(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)
    ]
    rates: dict[str, list[float]] = {name: [] for name in POOLINGS}
    for _ in range(_ROUNDS):
        for name, model in models.items():
            start_s = time.perf_counter()
            for batch in batches:
                model.signatures[features.PREDICT_IMAGES](**{features.IMAGES: batch})
            rates[name].append(len(images) / (time.perf_counter() - start_s))
    return {name: statistics.median(found) for name, found in rates.items()}


def _show(
    trained: Sequence[Trained], inference: dict[str, float], page: Path, console: Console
) -> Path:
    """Prints the comparison, and writes the page."""
    from pipeline.experiments import pooling_comparison

    costs = pooling_comparison.cost_table(trained, inference)
    conclusions = pooling_comparison.conclusions(trained)
    means = pooling_comparison.accuracy_table(trained, with_seeds=False)
    console.print(_on_screen(means), _on_screen(costs))
    for sentence in conclusions:
        console.print(f"• {sentence}", highlight=False, soft_wrap=True)
    accuracy = pooling_comparison.accuracy_table(trained, with_seeds=True)
    text = pooling_comparison.render(trained, conclusions, accuracy, costs)
    page.write_text(text, encoding="utf-8")
    console.print(f"\nplots  {page}", highlight=False, soft_wrap=True)
    return page


def _on_screen(table: Table) -> ScreenTable:
    shown = ScreenTable(title=table.caption, title_justify="left")
    for place, heading in enumerate(table.headings):
        shown.add_column(heading, justify="right" if place else "left")
    for row in table.rows:
        shown.add_row(*row)
    return shown
