"""How much work a run does, in counts that do not depend on the machine."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from doubles.local_runs import LocalRuns
from rich.console import Console

from components.evaluation import results
from components.images import idx_format
from components.names.node_ids import NodeId
from pipeline.local import session
from pipeline.settings import pipeline_config
from serving import launcher
from serving.launcher import ServerKind
from trainer import training_cost
from trainer.training_cost import TrainingCost


def _records(folder: Path) -> int:
    files = [str(path) for path in folder.rglob("*.gz")]
    return sum(1 for _ in tf.data.TFRecordDataset(files, "GZIP"))


def _output(runs: LocalRuns, node: NodeId, key: str) -> Path:
    (folder,) = (runs.root / "artifacts" / node / key).iterdir()
    return folder


def test_each_image_is_written_once_by_each_component_and_trained_on_in_each_epoch(
    finished: LocalRuns,
) -> None:
    config = pipeline_config.load(finished.config)
    counts = {
        prefix: len(
            idx_format.read_pair(*idx_format.find_pair(finished.data, f"{prefix}-*")).images
        )
        for prefix in ("train", "t10k")
    }
    ingested = {
        split: _records(_output(finished, NodeId.IDX_EXAMPLE_GEN, "examples") / f"Split-{split}")
        for split in ("train", "eval", "test")
    }
    assert ingested["train"] + ingested["eval"] == counts["train"]
    assert ingested["test"] == counts["t10k"]
    written = {path.parents[2].name for path in (finished.root / "artifacts").rglob("*.gz")}
    assert written == {"examples", "corrupted"}, "the Trainer transforms the images as it reads"
    model_run = _output(finished, NodeId.TRAINER, "model_run")
    cost = TrainingCost.from_json((model_run / training_cost.FILE).read_text())
    assert cost.images == config.trainer.epochs * ingested["train"]


def test_each_test_image_and_each_corrupted_image_is_evaluated_once(finished: LocalRuns) -> None:
    evaluation = results.read(str(_output(finished, NodeId.EVALUATOR, "evaluation")))
    clean = evaluation.overall.candidate.examples
    assert clean == 300
    written = _records(_output(finished, NodeId.CORRUPTED_EXAMPLES, "corrupted"))
    under_all = [
        scores.candidate.examples
        for corruption in evaluation.corruptions
        for scores in evaluation.robustness(corruption)
    ]
    assert clean + sum(under_all) == written


def test_a_cached_run_starts_the_pipeline_and_one_server(
    finished: LocalRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    popen = subprocess.Popen

    class Recording(popen):  # type: ignore[misc,valid-type]
        def __init__(self, command: Any, *arguments: Any, **options: Any):
            if command[0] == sys.executable:  # not Docker, which is asked for TF Serving's image
                started.append(command[2])
            super().__init__(command, *arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", Recording)
    monkeypatch.setattr(launcher, "available", lambda: ServerKind.EMBEDDED)
    config = pipeline_config.load(finished.config)
    session.run(config, finished.root, finished.data, Console(quiet=True))
    assert sorted(started) == ["pipeline.local", "serving.server"]
