"""Training on two devices and in two processes."""

import contextlib
import json
import logging
import socket
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from doubles import processes as processes_of
from doubles import trainings
from pydantic import ValidationError
from tfx.components.trainer.fn_args_utils import FnArgs

from components.images.idx_format import ImagesAndLabels
from serving import child_process
from trainer import distribution, features, run, training, training_cost
from trainer.hparams import HyperParameters
from trainer.training import Job
from trainer.workers import processes as local_processes
from trainer.workers import worker
from trainer.workers.failures import WorkerError

ON_TWO_DEVICES = """
import sys
import tensorflow as tf
from trainer import training
(processor,) = tf.config.list_physical_devices("CPU")
devices = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(processor, devices)
job = training.Job.model_validate_json(sys.stdin.read())
training.train(job, tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
"""


THE_SECOND_OF_TWO_PROCESSES = """
import sys
import time
from trainer import training
from trainer.workers import processes, worker
addresses = [f"127.0.0.1:{port}" for port in processes._free_ports(2)]
job = training.Job.model_validate_json(sys.stdin.readline())
with processes.Process({"TF_CONFIG": worker.tf_config(addresses, 1)}, job) as started:
    print(started._process.pid, addresses[1].rpartition(":")[2], flush=True)
    time.sleep(1000)
"""
TIMEOUT_S = 300


def test_two_processes_train_as_two_devices_do(
    tmp_path: Path,
    training_files: dict[str, list[str]],
    transform_graph: str,
    test_digits: ImagesAndLabels,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, logger=training.__name__):
        job = trainings.job(
            tmp_path / "processes",
            training_files,
            transform_graph,
            epochs=6,
            distribution="multi_worker",
        )
        values = job.model_dump(exclude={"hparams"})
        hparams = {run.HPARAMS: job.hparams.model_dump_json()}
        run.run_fn(FnArgs(**values, custom_config=hparams))
    events = [record.event for record in caplog.records if hasattr(record, "event")]
    assert (events[-1]["step"], events[-1]["steps"]) == (42, 42)
    assert events[-1]["loss"] < events[0]["loss"]
    assert "1,413,834" in (tmp_path / "processes" / "run" / "layers.txt").read_text()
    cost = json.loads((tmp_path / "processes" / "run" / training_cost.FILE).read_text())
    assert cost["images"] == 6 * 7 * 32, "240 images are seven batches of 32 and a smaller one"

    job = trainings.job(tmp_path / "devices", training_files, transform_graph, epochs=6)
    _train_on_two_devices(job)
    assert trainings.weights(tmp_path / "processes") == trainings.weights(tmp_path / "devices")

    module = tf.saved_model.load(str(tmp_path / "processes" / "model"))
    outputs = module.signatures[features.PREDICT_IMAGES](images=tf.constant(test_digits.images))
    accuracy = np.mean(outputs[features.PREDICTED_CLASS].numpy() == test_digits.labels)
    assert accuracy > 0.6


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[str]]]:
    """The processes that `train` starts."""
    started: list[subprocess.Popen[str]] = []
    popen = subprocess.Popen

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    yield started
    assert all(process.returncode is not None for process in started), "a process was left behind"


def test_a_killed_process_ends_the_training_without_a_model(
    tmp_path: Path,
    training_files: dict[str, list[str]],
    transform_graph: str,
    processes: list[subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def kill(record: logging.LogRecord) -> bool:
        if hasattr(record, "event"):
            processes[1].kill()
        return True

    log = logging.getLogger(training.__name__)
    monkeypatch.setattr(log, "level", logging.INFO)
    log.addFilter(kill)
    try:
        with pytest.raises(WorkerError, match=r"^training process 2 of 2 was killed \(signal 9\)"):
            local_processes.train(
                trainings.job(tmp_path, training_files, transform_graph, epochs=50)
            )
    finally:
        log.removeFilter(kill)
    assert not (tmp_path / "model").exists()


def test_the_reason_of_a_failed_process_is_given(
    tmp_path: Path,
    training_files: dict[str, list[str]],
    transform_graph: str,
    processes: list[subprocess.Popen[str]],
) -> None:
    job = trainings.job(tmp_path, training_files, transform_graph, train_images=20)
    with pytest.raises(WorkerError, match=r"ValueError: there are 20 training images; .* of 32$"):
        local_processes.train(job)
    assert len(processes) == 2


def test_the_reason_of_an_error_in_a_graph_is_what_is_wrong() -> None:
    @tf.function
    def fails(value: tf.Tensor) -> tf.Tensor:
        tf.debugging.assert_equal(value, 1, message="the value is wrong")
        return value

    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        fails(tf.constant(2))
    assert "Graph execution error" in str(raised.value)
    assert worker.reason_of(raised.value).startswith("assertion failed: [the value is wrong]")
    assert worker.reason_of(ValueError("no images\nat all")) == "no images"


@pytest.mark.cold  # Linux ends a process with its parent, which would be the fork server
def test_a_process_that_waits_for_another_ends_with_the_trainer(
    tmp_path: Path, training_files: dict[str, list[str]], transform_graph: str
) -> None:
    job = trainings.job(tmp_path, training_files, transform_graph)
    command = [sys.executable, "-c", THE_SECOND_OF_TWO_PROCESSES]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with child_process.running(command, **pipes) as trainer:
        assert trainer.stdin and trainer.stdout
        trainer.stdin.write(job.model_dump_json() + "\n")
        trainer.stdin.flush()
        pid, port = map(int, trainer.stdout.readline().split())
        _wait_until(lambda: _listens(port))
        trainer.kill()
        _wait_until(lambda: not processes_of.is_running(pid))


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def _wait_until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.05)


def test_the_first_epoch_is_that_of_one_device(
    tmp_path: Path, training_files: dict[str, list[str]], transform_graph: str
) -> None:
    recipe = {"batch_size": 24, "dropout": 0.0, "max_shift_px": 2.0, "label_smoothing": 0.03}
    alone, together = (
        trainings.job(tmp_path / name, training_files, transform_graph, epochs=1, **recipe)
        for name in ("alone", "together")
    )
    training.train(alone)
    _train_on_two_devices(together)
    ours, theirs = (trainings.load_weights(tmp_path / name) for name in ("alone", "together"))
    changes = [np.abs(ours[name] - theirs[name]).mean() for name in ours]
    assert max(changes) < 1e-4, "ten steps change a weight by some 1e-3"


def test_two_devices_train_in_bfloat16(
    tmp_path: Path, training_files: dict[str, list[str]], transform_graph: str
) -> None:
    job = trainings.job(
        tmp_path, training_files, transform_graph, epochs=1, train_images=64, precision="bfloat16"
    )
    _train_on_two_devices(job)
    cost = json.loads((tmp_path / "run" / training_cost.FILE).read_text())
    assert (cost["precision"], cost["images"]) == ("bfloat16", 64)
    assert {str(weight.dtype) for weight in trainings.load_weights(tmp_path).values()} == {
        "float32"
    }


def _train_on_two_devices(job: Job) -> None:
    command = [sys.executable, "-c", ON_TWO_DEVICES]
    subprocess.run(command, input=job.model_dump_json(), text=True, check=True, timeout=TIMEOUT_S)


def test_a_machine_without_gpus_is_rejected(
    tmp_path: Path, training_files: dict[str, list[str]], transform_graph: str
) -> None:
    job = trainings.job(tmp_path, training_files, transform_graph, distribution="mirrored")
    values = job.model_dump(exclude={"hparams"})
    hparams = {run.HPARAMS: job.hparams.model_dump_json()}
    with pytest.raises(ValueError, match="needs at least 2 GPUs; TensorFlow finds 0"):
        run.run_fn(FnArgs(**values, custom_config=hparams))


def test_a_batch_that_cannot_be_divided_is_rejected() -> None:
    with pytest.raises(ValidationError, match="it must be a multiple of workers, 3"):
        HyperParameters(distribution="multi_worker", workers=3)
    on_three_devices = types.SimpleNamespace(num_replicas_in_sync=3)
    distribution.check(on_three_devices, batch_size=33, images=33)
    with pytest.raises(ValueError, match="multiple of the number of devices, 3"):
        distribution.check(on_three_devices, batch_size=32, images=32)
    with pytest.raises(ValueError, match="there are 32 training images"):
        distribution.check(on_three_devices, batch_size=33, images=32)
