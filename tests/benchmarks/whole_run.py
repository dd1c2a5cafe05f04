"""A whole run, a cached run and the start of the program, against plain scripts on this machine.

    make bench [ARGS="--rounds 5 --out bench.json --set trainer.precision=float32"]

Downloads MNIST if it is not in the cache. The run and the plain script run once, one after the
other; the script once more in float32, Keras' default, if the run trained in another type. The
short commands run in turn, `--rounds` times. Read the ratios. The script's time does not contain
the wait at the end of a dataset that `trainer/tf_data.py` avoids.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from components.evaluation import results
from components.names.node_ids import NodeId
from pipeline.local import session
from pipeline.runs.run_record import RunRecord
from pipeline.runs.workspace import Workspace
from pipeline.settings import pipeline_config
from trainer import training_cost
from trainer.training_cost import TrainingCost

COMMAND: Final = (sys.executable, "-m", "pipeline.cli")
IMPORT: Final = (sys.executable, "-c", "import tensorflow")
PLAIN: Final = (sys.executable, "-m", "benchmarks.plain_keras")
KERAS_DEFAULT: Final = "float32"


class Row(NamedTuple):
    """A line of the table."""

    measured: str
    value: float
    unit: str
    goal: str
    detail: str


class Plain(NamedTuple):
    """What the plain script measured."""

    seconds: float
    fit: float
    """Images/s of the training."""

    predict: float
    """Images/s of the predictions."""

    waited_s: float
    """Seconds at the end of TensorFlow's datasets, which are not in `seconds`."""


def main() -> None:
    """Measures, prints the table, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="of the short commands")
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    parser.add_argument("--set", action="append", default=[], help="as of `mnist-tfx run`")
    options = parser.parse_args()
    console = Console()
    config = pipeline_config.load(overrides=options.set)
    data = session.prepare_data(config.data, None, console)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        workspace = Workspace(Path(folder))
        overrides = (f"--set={override}" for override in options.set)
        run = ("run", "--root", folder, "--data-dir", str(data), *overrides)
        processor_s = [_processor_s()]
        run_s = _seconds(*COMMAND, *run)
        processor_s.append(_processor_s())
        record = workspace.records()[-1]
        evaluation = results.read(_output(workspace, NodeId.EVALUATOR, "evaluation"))
        cost = Path(_output(workspace, NodeId.TRAINER, "model_run")) / training_cost.FILE
        trained = TrainingCost.from_json(cost.read_text())
        predicted = evaluation.overall.candidate.examples + sum(
            scores.candidate.examples
            for corruption in evaluation.corruptions
            for scores in evaluation.robustness(corruption)
        )
        plain = {}
        for precision in dict.fromkeys((trained.precision, KERAS_DEFAULT)):
            recipe = config.trainer.changed({"precision": precision})
            start_s = time.perf_counter()
            measured = json.loads(
                _output_of(*PLAIN, str(data), recipe.model_dump_json(), str(predicted))
            )
            seconds = time.perf_counter() - start_s - measured["waited_s"]
            plain[precision] = Plain(seconds, **measured)
            processor_s.append(_processor_s())
        short: dict[str, list[float]] = {"import": [], "cached": [], "help": []}
        for _ in range(options.rounds):
            short["import"].append(_seconds(*IMPORT))
            short["cached"].append(_seconds(*COMMAND, *run))
            short["help"].append(_seconds(*COMMAND, "--help"))
    rows = _rows(record, run_s, plain, trained, predicted, processor_s, short)
    table = Table(title=machine.sentence(), title_justify="left")
    for name in Row._fields:
        table.add_column(name, justify="right" if name == "value" else "left")
    for row in rows:
        table.add_row(row.measured, f"{row.value:.2f}", row.unit, row.goal, row.detail)
    console.print(table)
    result: dict[str, Any] = {
        "machine": machine.describe(),
        "rows": [row._asdict() for row in rows],
        "seconds_by_component": {node.node: node.seconds for node in record.nodes},
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    console.print(f"written to {options.out}")


def _rows(
    record: RunRecord,
    run_s: float,
    plain: dict[str, Plain],
    trained: TrainingCost,
    predicted: int,
    processor_s: Sequence[float],
    short: dict[str, list[float]],
) -> list[Row]:
    seconds = {node.node: node.seconds for node in record.nodes}
    evaluator_s = seconds[NodeId.EVALUATOR]
    others_s = sum(seconds.values()) - evaluator_s - seconds[NodeId.TRAINER]
    import_s, cached_s, help_s = (
        statistics.median(short[name]) for name in ("import", "cached", "help")
    )
    evaluated = predicted / evaluator_s
    same = plain[trained.precision]
    run_processor_s, *plain_processor_s = np.diff(processor_s)
    return [
        *(
            Row(
                f"whole run / plain Keras script in {precision}",
                run_s / script.seconds,
                "ratio",
                "at most 1.25",
                f"{run_s:.0f} s / {script.seconds:.0f} s: the same recipe, "
                f"{predicted:,} predictions; without {script.waited_s:.0f} s in which the "
                "script waited for tf.data",
            )
            for precision, script in plain.items()
        ),
        *(
            Row(
                f"the same in processor time, {precision}",
                run_processor_s / script_s,
                "ratio",
                "",
                f"{run_processor_s:.0f} s / {script_s:.0f} s: independent of other load",
            )
            for precision, script_s in zip(plain, plain_processor_s, strict=True)
        ),
        Row(
            "Evaluator / the model in process",
            evaluated / same.predict,
            "ratio",
            "at least 0.8",
            f"{evaluated:.0f} / {same.predict:.0f} images/s",
        ),
        *(
            Row(
                f"Trainer / Keras' fit in memory in {precision}",
                trained.images_per_s / script.fit,
                "ratio",
                "at least 1.25" if precision == KERAS_DEFAULT else "",
                f"{trained.images_per_s:.0f} / {script.fit:.0f} images/s",
            )
            for precision, script in plain.items()
        ),
        Row(
            "all other components / import tensorflow",
            others_s / import_s,
            "ratio",
            "at most 6",
            f"{others_s:.1f} s / {import_s:.1f} s",
        ),
        Row(
            "cached run / import tensorflow",
            cached_s / import_s,
            "ratio",
            "at most 1.5",
            f"{cached_s:.1f} s / {import_s:.1f} s",
        ),
        Row("RunReport", seconds[NodeId.RUN_REPORT], "s", "at most 6", "predicts nothing"),
        Row("mnist-tfx --help", help_s, "s", "at most 0.25", f"median of {len(short['help'])}"),
    ]


def _output(workspace: Workspace, node: NodeId, key: str) -> str:
    (folder,) = (workspace.artifacts / node / key).iterdir()
    return str(folder)


def _processor_s() -> float:
    """The processor time of all processes that have ended, in s."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _seconds(*command: str) -> float:
    start_s = time.perf_counter()
    _output_of(*command)
    return time.perf_counter() - start_s


def _output_of(*command: str) -> str:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
