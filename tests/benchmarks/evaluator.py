"""Duration of the Evaluator: on clean images, with all corruptions, and with a champion.

    make bench-evaluator

Runs the pipeline on MNIST, one run after the other on the same machine. The recipe is short,
because the quality of the model does not matter here. Prints the seconds of the component
Evaluator and their ratio to the first run.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.local import runner, session
from pipeline.runs import events
from pipeline.runs.workspace import Workspace
from pipeline.settings import pipeline_config
from pipeline.settings.pipeline_config import PipelineConfig

RECIPE = ("trainer.train_images=2000", "trainer.epochs=1", "serving.sample_requests=0")
REPORTED = (
    "robustness.min_accuracy={}",
    *(f"evaluation.{name}=report" for name in pipeline_config.EvaluationConfig.model_fields),
)
CLEAN = ("robustness.strengths={}",)
RESULT = Path("bench-evaluator.json")


def main() -> None:
    console = Console()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        workspace = Workspace(Path(folder))
        rows = [
            _measure("clean images, no champion", [*CLEAN, "trainer.seed=1"], workspace),
            _measure("all corruptions, no champion", ["trainer.seed=1"], workspace),
        ]
        _run(["trainer.seed=1"], workspace, until=None)  # all of it, so that it is pushed
        rows.append(_measure("all corruptions and a champion", ["trainer.seed=2"], workspace))
    for row in rows:
        row["ratio"] = row["seconds"] / rows[0]["seconds"]
        console.print(
            f"{row['evaluated']}: {row['images']:,} images, {row['seconds']:.1f} s, "
            f"ratio {row['ratio']:.1f}"
        )
    RESULT.write_text(json.dumps({"cores": os.cpu_count(), "rows": rows}, indent=1) + "\n")
    console.print(f"wrote {RESULT}")


def _measure(name: str, overrides: list[str], workspace: Workspace) -> dict[str, Any]:
    """Returns the seconds of the Evaluator; nothing runs at the same time."""
    settings, took = _run(overrides, workspace, until="Evaluator")
    images = 10_000 + settings.robustness.images * sum(
        len(strengths) * (4 if corruption == "translate" else 1)
        for corruption, strengths in settings.robustness.strengths.items()
    )
    return {"evaluated": name, "images": images, "seconds": took["Evaluator"]}


def _run(
    overrides: list[str], workspace: Workspace, until: str | None
) -> tuple[PipelineConfig, dict[str, float]]:
    settings = pipeline_config.load("local", [*RECIPE, *REPORTED, *overrides])
    data = session.prepare_data(settings.data, None, Console())
    took: dict[str, float] = {}

    def on_event(event: events.Event) -> None:
        if isinstance(event, events.NodeChanged) and event.state == "done":
            took[event.node] = event.seconds

    run_id = runner.new_run_id(workspace)
    record = runner.run(settings, workspace, data, run_id, on_event, until=until)
    if record.exit_code:
        raise SystemExit(f"{record.message}")
    return settings, took


if __name__ == "__main__":
    main()
