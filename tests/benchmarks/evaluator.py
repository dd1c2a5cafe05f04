"""The Evaluator's images per second, against calling the model in the same process.

    make bench-evaluator

Runs the pipeline on MNIST up to the Evaluator: on clean images, with all corruptions, and with a
champion. After each, this process calls the SavedModel with the same examples, in batches
of 128. The recipe is short, because the quality of the model does not matter here. With a champion
each image is evaluated twice.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import tensorflow as tf
from rich.console import Console

from benchmarks import machine
from components.names.node_ids import NodeId
from pipeline.local import runner, session
from pipeline.runs import events
from pipeline.runs.workspace import Workspace
from pipeline.settings import pipeline_config
from trainer import features

RECIPE = ("trainer.train_images=2000", "trainer.epochs=1", "serving.sample_requests=0")
REPORTED = (
    "robustness.min_accuracy={}",
    *(f"evaluation.{name}=report" for name in pipeline_config.EvaluationConfig.model_fields),
)
CLEAN = ("robustness.strengths={}",)
RESULT = Path("bench-evaluator.json")
BATCH: Final = 128


def main() -> None:
    console = Console()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        workspace = Workspace(Path(folder))
        rows = [
            _measure("clean images, no champion", [*CLEAN, "trainer.seed=1"], workspace, models=1),
            _measure("all corruptions, no champion", ["trainer.seed=1"], workspace, models=1),
        ]
        _run(["trainer.seed=1"], workspace, until=None)  # all of it, so that it is pushed
        rows.append(
            _measure("all corruptions and a champion", ["trainer.seed=2"], workspace, models=2)
        )
    for row in rows:
        console.print(
            f"{row['evaluated']}: {row['images']:,} images, {row['seconds']:.1f} s, "
            f"{row['images_per_s']:.0f} images/s; the model in process "
            f"{row['in_process_images_per_s']:.0f} images/s; ratio {row['ratio']:.2f}"
        )
    RESULT.write_text(json.dumps({"machine": machine.describe(), "rows": rows}, indent=1) + "\n")
    console.print(f"wrote {RESULT}")


def _measure(name: str, overrides: list[str], workspace: Workspace, models: int) -> dict[str, Any]:
    """Measures one after the other: the Evaluator, and the model in this process."""
    seconds, model = _run(overrides, workspace, until=NodeId.EVALUATOR)
    if not seconds:
        raise SystemExit("the Evaluator did not run")
    newest = max(workspace.artifacts.glob("CorruptedExamples/corrupted/*"), key=_execution)
    files = [str(path) for path in sorted(newest.glob("Split-*/*.gz"))]
    records = list(tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator())
    rate = models * len(records) / seconds
    in_process = _in_process(model, records)
    return {
        "evaluated": name,
        "images": len(records),
        "models": models,
        "seconds": seconds,
        "images_per_s": rate,
        "in_process_images_per_s": in_process,
        "ratio": rate / in_process,
    }


def _in_process(model: str, records: list[bytes]) -> float:
    """Images per second of the SavedModel."""
    signature = tf.saved_model.load(model).signatures[features.SERVING_DEFAULT]
    batches = [
        tf.constant(records[start : start + BATCH]) for start in range(0, len(records), BATCH)
    ]
    signature(**{features.EXAMPLES: batches[0]})
    start_s = time.perf_counter()
    for batch in batches:
        signature(**{features.EXAMPLES: batch})
    return len(records) / (time.perf_counter() - start_s)


def _run(overrides: list[str], workspace: Workspace, until: str | None) -> tuple[float, str]:
    """The seconds of the Evaluator, 0 if its result was cached, and the folder of the model."""
    settings = pipeline_config.load("local", [*RECIPE, *REPORTED, *overrides])
    data = session.prepare_data(settings.data, None, Console())
    seconds, model = 0.0, ""

    def on_event(event: events.Event) -> None:
        nonlocal seconds, model
        if isinstance(event, events.NodeChanged) and event.node == NodeId.EVALUATOR:
            seconds = event.seconds if event.state == "done" else seconds
        elif isinstance(event, events.Evaluated):
            model = event.model

    run_id = runner.new_run_id(workspace)
    record = runner.run(settings, workspace, data, run_id, on_event, until=until)
    if record.exit_code:
        raise SystemExit(record.message)
    return seconds, model


def _execution(folder: Path) -> int:
    return int(folder.name)


if __name__ == "__main__":
    main()
