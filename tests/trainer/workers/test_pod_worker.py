"""The process of a pod, with the first process of its training on this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from doubles import trainings

from serving import child_process
from trainer import training_cost
from trainer.training import Job
from trainer.workers import endings, pod_worker, processes, worker


def _start(job: Job, addresses: list[str], output: Any) -> Any:
    """The second process, as Kubernetes starts it."""
    told = pod_worker.Training(job=job, addresses=tuple(addresses))
    variables = {pod_worker.TRAINING: told.model_dump_json(), "JOB_COMPLETION_INDEX": "0"}
    return child_process.running(
        [sys.executable, "-m", pod_worker.__name__],
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=output,
        text=True,
    )


@pytest.fixture
def addresses() -> list[str]:
    return [f"127.0.0.1:{port}" for port in processes._free_ports(2)]


def test_it_trains_with_the_first_process_and_waits_for_its_end(
    tmp_path: Path, transformed: dict[str, list[str]], transform_graph: str, addresses: list[str]
) -> None:
    job = trainings.job(tmp_path, transformed, transform_graph, epochs=1)
    variables = {"TF_CONFIG": worker.tf_config(addresses, 0)}
    with (
        _start(job, addresses, subprocess.DEVNULL) as second,
        processes.Process(variables, job) as first,
    ):
        while (code := first.poll()) is None:
            assert second.poll() is None
        assert code == 0, first.failure("the first process")
        assert second.poll() is None, "the first would see it as crashed"
    cost = json.loads((tmp_path / "run" / training_cost.FILE).read_text())
    assert cost["images"] == 7 * 32
    assert (tmp_path / "model" / "saved_model.pb").exists()


def test_the_last_line_of_a_failed_one_is_the_reason(
    tmp_path: Path, transformed: dict[str, list[str]], transform_graph: str, addresses: list[str]
) -> None:
    job = trainings.job(tmp_path, transformed, transform_graph, train_images=20)
    variables = {"TF_CONFIG": worker.tf_config(addresses, 0)}
    with (
        _start(job, addresses, subprocess.PIPE) as second,
        processes.Process(variables, job),
    ):
        output, _ = second.communicate()
    assert second.returncode == 1
    error = json.loads(output.splitlines()[-1])["error"]
    assert error.startswith("ValueError: there are 20 training images; ")
    assert endings.describe("it", 1, error) == f"it failed: {error}"
