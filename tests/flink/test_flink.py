"""The pipeline on all of MNIST with its Beam jobs on Flink, compared with the jobs in process.

`make test-flink` starts Flink, and calls this.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
from doubles.local_runs import cli
from numpy.typing import NDArray

from components.evaluation import results
from components.evaluation.metrics import ACCURACY, CALIBRATION_ERROR, CANDIDATE, CHAMPION, LOSS
from components.evaluation.results import Evaluation, Scores
from components.evaluation.slices import Slice
from components.names.node_ids import NodeId
from flink.flink_cluster import FlinkCluster
from pipeline.runs.run_record import RunRecord
from pipeline.runs.workspace import Workspace
from trainer import features

BEAM_NODES: Final = 2  # StatisticsGen, Evaluator
PARAMETERS: Final = 1_413_834
TIMEOUT_S: Final = 1800
SCALARS: Final = (
    *(features.INDEX, features.IMAGE_HEIGHT_PX, features.IMAGE_WIDTH_PX),
    *(features.PIXEL_MEAN, features.PIXEL_MIN, features.PIXEL_MAX),
)
SPLITS: Final = {"train": 55_000, "eval": 5_000, "test": 10_000}


def _run(root: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    options = [word for override in overrides for word in ("--set", override)]
    return cli("run", "--config", "quick", "--root", root, *options, timeout=TIMEOUT_S)


def _last(root: Path) -> RunRecord:
    return Workspace(root).records()[-1]


def _executed(root: Path) -> set[str]:
    return {node.node for node in _last(root).nodes if node.state == "done"}


@pytest.fixture(scope="module")
def in_process(flink: FlinkCluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of a run without Flink."""
    root = tmp_path_factory.mktemp("in-process")
    done = _run(root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert flink.jobs() == []
    return root


@pytest.fixture(scope="module")
def on_flink(flink: FlinkCluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of a run whose Beam jobs ran on Flink."""
    root = tmp_path_factory.mktemp("on-flink")
    done = _run(root, flink.option())
    assert done.returncode == 0, done.stdout + done.stderr
    assert [job["state"] for job in flink.jobs()] == ["FINISHED"] * BEAM_NODES
    return root


def _output(root: Path, node: NodeId, key: str) -> Path:
    """The newest artifact of an output."""
    folders = (root / "artifacts" / node / key).iterdir()
    return max(folders, key=lambda folder: int(folder.name))


def test_the_statistics_are_equal(in_process: Path, on_flink: Path) -> None:
    for split, count in SPLITS.items():
        expected, found = (_statistics(root, split) for root in (in_process, on_flink))
        assert found.keys() == expected.keys() == {*SCALARS, features.IMAGE, features.LABEL}
        assert found[features.IMAGE].bytes_stats.common_stats.num_non_missing == count
        shares = found[features.LABEL].string_stats.rank_histogram
        assert shares == expected[features.LABEL].string_stats.rank_histogram
        for name in SCALARS:
            stats, same = expected[name].num_stats, found[name].num_stats
            assert same.common_stats.num_non_missing == count
            assert (same.min, same.max, same.num_zeros) == (stats.min, stats.max, stats.num_zeros)
            # Sums of floats, in another order.
            assert same.mean == pytest.approx(stats.mean, rel=1e-9)
            assert same.std_dev == pytest.approx(stats.std_dev, rel=1e-9)
            # TFDV approximates quantiles.
            error = 0.01 * (stats.max - stats.min)
            assert _quantiles(same) == pytest.approx(_quantiles(stats), abs=error)


def _statistics(root: Path, split: str) -> dict[str, Any]:
    """The FeatureNameStatistics of a split, by feature."""
    folder = _output(root, NodeId.STATISTICS_GEN, "statistics") / f"Split-{split}"
    (dataset,) = tfdv.load_stats_binary(str(folder / "FeatureStats.pb")).datasets
    return {feature.path.step[0]: feature for feature in dataset.features}


def _quantiles(stats: Any) -> list[float]:
    (histogram,) = (h for h in stats.histograms if h.type == h.QUANTILES)
    return [bucket.high_value for bucket in histogram.buckets]


def test_the_pushed_models_are_equal(in_process: Path, on_flink: Path) -> None:
    expected, found = (_weights(root) for root in (in_process, on_flink))
    assert found.keys() == expected.keys()
    assert sum(array.size for array in expected.values()) == PARAMETERS
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def _weights(root: Path) -> dict[str, NDArray[np.float32]]:
    """The variables of the only pushed model."""
    (version,) = Workspace(root).served_versions("mnist")
    checkpoint = tf.train.load_checkpoint(
        str(root / "serving_model" / "mnist" / str(version) / "variables" / "variables")
    )
    names = checkpoint.get_variable_to_shape_map()
    return {n: checkpoint.get_tensor(n) for n in names if n.endswith("VARIABLE_VALUE")}


def _evaluation(root: Path) -> Evaluation:
    return results.read(str(_output(root, NodeId.EVALUATOR, "evaluation")))


def test_the_metrics_of_one_model_are_equal(in_process: Path, flink: FlinkCluster) -> None:
    assert _run(in_process, "evaluation.min_accuracy=0.9701").returncode == 0
    expected = _evaluation(in_process)
    jobs = len(flink.jobs())
    done = _run(in_process, flink.option(), "evaluation.min_accuracy=0.9702")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(flink.jobs()) == jobs + 1
    assert NodeId.TRAINER not in _executed(in_process)
    found = _evaluation(in_process)
    assert found.rejections == expected.rejections == ()
    assert _scores(found).keys() == _scores(expected).keys()
    for where, scores in _scores(expected).items():
        same = _scores(found)[where]
        assert (same.examples, same.images) == (scores.examples, scores.images)
        assert same.accuracy == scores.accuracy
        # Sums of floats, in another order.
        assert same.loss == pytest.approx(scores.loss, rel=1e-6)
        assert same.calibration_error == pytest.approx(scores.calibration_error, rel=1e-6)
        for metric in (ACCURACY, LOSS, CALIBRATION_ERROR):
            interval = pytest.approx(scores.intervals[metric], rel=1e-4, abs=1e-6)
            assert same.intervals[metric] == interval


def _scores(evaluation: Evaluation) -> dict[tuple[Slice, str], Scores]:
    """The scores of both models on each slice."""
    candidates = {(each.slice, CANDIDATE): each.candidate for each in evaluation.slices}
    champions = {(each.slice, CHAMPION): each.champion for each in evaluation.slices}
    return candidates | {where: scores for where, scores in champions.items() if scores}


def _is_half_done(job: Mapping[str, Any]) -> bool:
    """Whether tasks on both TaskManagers exchange data; before, Flink waits minutes for a slot."""
    tasks = job["tasks"]
    return bool(tasks["finished"] >= tasks["total"] / 2)


def test_a_killed_task_manager_fails_the_evaluator_and_the_next_run_succeeds(
    in_process: Path, flink: FlinkCluster
) -> None:
    versions = Workspace(in_process).served_versions("mnist")
    before = set((in_process / "artifacts" / NodeId.EVALUATOR / "evaluation").iterdir())
    override = "evaluation.min_accuracy=0.9703"
    jobs = len(flink.jobs())
    command = [sys.executable, "-m", "pipeline.cli", "run", "--config", "quick"]
    options = ["--root", str(in_process), "--set", flink.option(), "--set", override]
    with subprocess.Popen(
        [*command, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    ) as process:
        try:
            deadline = time.monotonic() + TIMEOUT_S
            while len(flink.jobs()) == jobs or not _is_half_done(flink.jobs()[-1]):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
            flink.task_managers[-1].kill()
            output, _ = process.communicate(timeout=TIMEOUT_S)
        except BaseException:
            process.kill()
            raise
    assert flink.jobs()[-1]["state"] == "FAILED"
    assert process.returncode == 1, output
    record = _last(in_process)
    assert record.message.startswith("Evaluator failed: FlinkRunner failed the job: ")
    assert "\n" not in record.message
    assert Workspace(in_process).served_versions("mnist") == versions
    assert set((in_process / "artifacts" / NodeId.EVALUATOR / "evaluation").iterdir()) == before

    flink.wait_for_task_managers(1)
    flink.add_task_manager()
    flink.wait_for_task_managers(2)
    done = _run(in_process, flink.option(), override)
    assert done.returncode == 0, done.stdout + done.stderr
    assert NodeId.EVALUATOR in _executed(in_process)
