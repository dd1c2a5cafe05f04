"""The program of a pod, with the first process of its training on this machine."""

import contextlib
import json
import time
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from doubles import trainings

from trainer import training_cost
from trainer.training import Job
from trainer.workers import failures, pod_worker, processes, worker
from trainer.workers.processes import Process


@dataclass
class Two:
    """A training in two processes: the first, and the pod of the second."""

    folder: Path
    files: dict[str, list[str]]
    graph: str
    patch: pytest.MonkeyPatch
    addresses: list[str] = field(
        default_factory=lambda: [f"127.0.0.1:{port}" for port in processes._free_ports(2)]
    )

    def job(self, **hparams: Any) -> Job:
        return trainings.job(self.folder, self.files, self.graph, **hparams)

    def first(self, job: Job) -> Process:
        return Process({"TF_CONFIG": worker.tf_config(self.addresses, 0)}, job)

    @property
    def message(self) -> Path:
        """What the pod leaves for Kubernetes."""
        return self.folder / "message"

    @contextlib.contextmanager
    def pod(self, job: Job) -> Iterator[futures.Future[int]]:
        told = pod_worker.Training(job=job, addresses=tuple(self.addresses))
        self.patch.setenv(pod_worker.VARIABLE, told.model_dump_json())
        self.patch.setenv(pod_worker.INDEX, "0")
        self.patch.setattr(pod_worker, "TERMINATION_MESSAGE", self.message)
        self.patch.setattr(pod_worker, "_LOOK_INTERVAL_S", 0.5)
        with futures.ThreadPoolExecutor(1) as executor:
            yield executor.submit(pod_worker.main)


@pytest.fixture
def two(
    tmp_path: Path,
    training_files: dict[str, list[str]],
    transform_graph: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Two:
    return Two(tmp_path, training_files, transform_graph, monkeypatch)


def test_it_trains_with_the_first_process_and_ends_after_it(two: Two) -> None:
    job = two.job(epochs=1)
    with two.pod(job) as pod:
        with two.first(job) as first:
            while (code := first.poll()) is None:
                assert not pod.done(), "the first would see it as crashed"
                time.sleep(0.1)
        assert code == 0, first.failure("the first process")
        assert pod.result() == 1
    assert "no longer answers" in two.message.read_text()
    cost = json.loads((two.folder / "run" / training_cost.FILE).read_text())
    assert cost["images"] == 7 * 32
    assert (two.folder / "model" / "saved_model.pb").exists()


def test_a_failed_one_leaves_its_reason(two: Two) -> None:
    job = two.job(train_images=20)
    with two.pod(job) as pod, two.first(job):
        assert pod.result() == 1
    ending = pod_worker.Ending.model_validate_json(two.message.read_text())
    assert ending.code == 1
    assert ending.error.startswith("ValueError: there are 20 training images; ")


def test_it_does_not_wait_for_ever_for_the_first_process(two: Two) -> None:
    two.patch.setattr(pod_worker, "START_TIMEOUT_S", 1.0)
    with two.pod(two.job()) as pod:
        assert pod.result() == 1
    ending = pod_worker.Ending.model_validate_json(two.message.read_text())
    assert ending.error.endswith("1 s; does the network policy allow the connection?")
    assert not failures.describe("it", ending.code, ending.error).is_cause
