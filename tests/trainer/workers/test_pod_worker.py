"""The program of a pod, with the first process of its training on this machine."""

import contextlib
import json
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import pytest
from doubles import trainings

from trainer import training_cost
from trainer.training import Job
from trainer.workers import pod_worker, processes, worker


@pytest.fixture
def addresses() -> list[str]:
    return [f"127.0.0.1:{port}" for port in processes._free_ports(2)]


@contextlib.contextmanager
def _pod(
    job: Job, addresses: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[futures.Future[int]]:
    """The pod of the second process."""
    told = pod_worker.Training(job=job, addresses=tuple(addresses))
    monkeypatch.setenv(pod_worker.VARIABLE, told.model_dump_json())
    monkeypatch.setenv(pod_worker.INDEX, "0")
    monkeypatch.setattr(pod_worker, "TERMINATION_MESSAGE", folder / "message")
    monkeypatch.setattr(pod_worker, "_LOOK_INTERVAL_S", 0.5)
    with futures.ThreadPoolExecutor(1) as executor:
        yield executor.submit(pod_worker.main)


def test_it_trains_with_the_first_process_and_ends_after_it(
    tmp_path: Path,
    transformed: dict[str, list[str]],
    transform_graph: str,
    addresses: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = trainings.job(tmp_path, transformed, transform_graph, epochs=1)
    with _pod(job, addresses, tmp_path, monkeypatch) as pod:
        with processes.Process({"TF_CONFIG": worker.tf_config(addresses, 0)}, job) as first:
            while (code := first.poll()) is None:
                assert not pod.done(), "the first would see it as crashed"
        assert code == 0, first.failure("the first process")
        assert pod.result() == 0
    cost = json.loads((tmp_path / "run" / training_cost.FILE).read_text())
    assert cost["images"] == 7 * 32
    assert (tmp_path / "model" / "saved_model.pb").exists()
    assert not (tmp_path / "message").exists()


def test_a_failed_one_leaves_its_reason(
    tmp_path: Path,
    transformed: dict[str, list[str]],
    transform_graph: str,
    addresses: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = trainings.job(tmp_path, transformed, transform_graph, train_images=20)
    with (
        _pod(job, addresses, tmp_path, monkeypatch) as pod,
        processes.Process({"TF_CONFIG": worker.tf_config(addresses, 0)}, job),
    ):
        assert pod.result() == 1
    ending = pod_worker.Ending.model_validate_json((tmp_path / "message").read_text())
    assert ending.code == 1
    assert ending.error.startswith("ValueError: there are 20 training images; ")


def test_it_does_not_wait_for_ever_for_the_first_process(
    tmp_path: Path,
    transformed: dict[str, list[str]],
    transform_graph: str,
    addresses: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pod_worker, "_START_TIMEOUT_S", 1.0)
    job = trainings.job(tmp_path, transformed, transform_graph)
    with _pod(job, addresses, tmp_path, monkeypatch) as pod:
        assert pod.result() == 0
