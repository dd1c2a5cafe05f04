"""Servers for the tests of serving: real processes, one for each way to serve."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from doubles import saved_models
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving import launcher
from serving.launcher import ServerKind

TIMEOUT_S = 30
START_TIMEOUT_S = 120

# Every way in which the contract is kept. TF Serving's own server is the measure of it.
WAYS = ("embedded", "embedded, batching", "tensorflow_model_server")


@dataclass
class Server:
    """A server that serves what `served` says."""

    address: str
    rest: str
    process: subprocess.Popen[bytes]
    log: Path
    folder: Path

    def __post_init__(self) -> None:
        self.channel = grpc.insecure_channel(self.address)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def get(self, path: str) -> httpx.Response:
        """Asks the REST API."""
        return httpx.get(f"{self.rest}{path}", timeout=TIMEOUT_S)

    def post(self, path: str, document: object) -> httpx.Response:
        """Asks the REST API."""
        return httpx.post(f"{self.rest}{path}", json=document, timeout=TIMEOUT_S)


@contextlib.contextmanager
def started(folder: Path, *flags: str, binary: str | None = None) -> Iterator[Server]:
    """A server with these flags, and ports of its own; it may not be ready yet."""
    port, rest_port = launcher.free_port(), launcher.free_port()
    command = [binary] if binary else [sys.executable, "-m", "serving.server"]
    command += [f"--port={port}", f"--rest_api_port={rest_port}", *flags]
    log = folder / f"server-{port}.txt"
    with log.open("wb") as log_file:
        process = subprocess.Popen(command, stdout=log_file, stderr=subprocess.STDOUT)
    server = Server(f"127.0.0.1:{port}", f"http://127.0.0.1:{rest_port}", process, log, folder)
    try:
        yield server
    finally:
        server.channel.close()
        launcher.stop(process)


def wait_for(what: Callable[[], bool], server: Server, timeout_s: float = START_TIMEOUT_S) -> None:
    """Waits until something is so; what is not there yet may raise."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(grpc.RpcError, httpx.HTTPError):
            if what():
                return
        said = server.log.read_text(errors="replace")[-2000:]
        assert server.process.poll() is None, said
        assert time.monotonic() < deadline_s, said
        time.sleep(0.05)


def available(server: Server, model: str, version: int) -> bool:
    """Whether a version answers."""
    states = server.get(f"/v1/models/{model}").json().get("model_version_status", [])
    return any((s["version"], s["state"]) == (str(version), "AVAILABLE") for s in states)


MODELS_CONFIG = """
model_config_list {{
  config {{
    name: "mnist" base_path: "{folder}/mnist" model_platform: "tensorflow"
    model_version_policy {{ all {{}} }}
    version_labels {{ key: "stable" value: 3 }} version_labels {{ key: "canary" value: 4 }}
  }}
  config {{ name: "toy" base_path: "{folder}/toy" model_platform: "tensorflow" }}
}}
"""
BATCHING_PARAMETERS = """
max_batch_size {{ value: {largest} }} batch_timeout_micros {{ value: {timeout} }}
num_batch_threads {{ value: 2 }} max_enqueued_batches {{ value: {waiting} }}
"""


@pytest.fixture(scope="session")
def second_model(tmp_path_factory: pytest.TempPathFactory, transform_graph: str) -> Path:
    """Another network than `exported_model`: its answers differ."""
    folder = tmp_path_factory.mktemp("export") / "second"
    saved_models.export(folder, transform_graph, seed=8)
    return folder


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with other kinds of signatures."""
    folder = tmp_path_factory.mktemp("export") / "toy"
    saved_models.export_toy(folder)
    return folder


@pytest.fixture(scope="session")
def served(
    tmp_path_factory: pytest.TempPathFactory,
    exported_model: Path,
    second_model: Path,
    toy_model: Path,
) -> Path:
    """Two models: mnist with the versions 3 and 4, both served, and toy with version 1."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(exported_model, folder / "mnist" / "3")
    shutil.copytree(second_model, folder / "mnist" / "4")
    shutil.copytree(toy_model, folder / "toy" / "1")
    (folder / "models.config").write_text(MODELS_CONFIG.format(folder=folder))
    (folder / "batching.config").write_text(
        BATCHING_PARAMETERS.format(largest=512, timeout=1000, waiting=100)
    )
    (folder / "monitoring.config").write_text("prometheus_config { enable: true }\n")
    return folder


@pytest.fixture(scope="session", params=WAYS)
def server(request: pytest.FixtureRequest, served: Path) -> Iterator[Server]:
    """A server of both models, in each way."""
    binary = None
    flags = [
        f"--model_config_file={served / 'models.config'}",
        f"--monitoring_config_file={served / 'monitoring.config'}",
        "--allow_version_labels_for_unavailable_models=true",
    ]
    if request.param == ServerKind.TENSORFLOW_MODEL_SERVER:
        binary = shutil.which(ServerKind.TENSORFLOW_MODEL_SERVER)
        if binary is None:
            pytest.skip("tensorflow_model_server is not on PATH")
    elif "batching" in request.param:
        flags += ["--enable_batching", f"--batching_parameters_file={served / 'batching.config'}"]
    with started(served, *flags, binary=binary) as running:
        for model, version in (("mnist", 3), ("mnist", 4), ("toy", 1)):
            wait_for(lambda m=model, v=version: available(running, m, v), running)
        yield running


def digits_answer(folder: Path, images: np.ndarray) -> np.ndarray:
    """The probabilities that a SavedModel gives in this process."""
    import tensorflow as tf

    module = tf.saved_model.load(str(folder))
    signature = module.signatures["predict_images"]
    return signature(images=tf.constant(images))["probabilities"].numpy()
