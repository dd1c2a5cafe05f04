"""Model servers as processes, with given flags, and functions that send requests to them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import numpy as np
from tensorflow_serving.apis import (
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from doubles import processes
from serving import child_process
from serving.client import predictions

TIMEOUT_S = 120
START_TIMEOUT_S = 300


@dataclass
class Server:
    """A running server of the models in `folder`."""

    address: str
    rest: str
    process: subprocess.Popen[bytes]
    log: Path
    folder: Path
    is_tf_serving: bool = False

    def __post_init__(self) -> None:
        self.channel = grpc.insecure_channel(self.address)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def get(self, path: str) -> httpx.Response:
        """Sends GET to the REST API."""
        return httpx.get(f"{self.rest}{path}", timeout=TIMEOUT_S)

    def post(self, path: str, document: object) -> httpx.Response:
        """Sends POST to the REST API."""
        return httpx.post(f"{self.rest}{path}", json=document, timeout=TIMEOUT_S)


@contextlib.contextmanager
def started(
    folder: Path,
    *flags: str,
    binary: str | None = None,
    command: Sequence[str] = (sys.executable, "-m", "serving.server"),
    environment: Mapping[str, str] = {},
) -> Iterator[Server]:
    """A server with these flags and free ports; it may not be ready yet."""
    port, rest_port = processes.free_ports(2)
    command = [*([binary] if binary else command)]
    command += [f"--port={port}", f"--rest_api_port={rest_port}", *flags]
    log = folder / f"server-{port}.txt"
    with (
        log.open("wb") as log_file,
        child_process.running(
            command,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        ) as process,
    ):
        server = Server(f"127.0.0.1:{port}", f"http://127.0.0.1:{rest_port}", process, log, folder)
        server.is_tf_serving = binary is not None
        try:
            yield server
        finally:
            server.channel.close()


def wait_for(what: Callable[[], bool], server: Server, timeout_s: float = START_TIMEOUT_S) -> None:
    """Waits until a condition is true; exceptions count as false."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(grpc.RpcError, httpx.HTTPError):
            if what():
                return
        log = server.log.read_text(errors="replace")[-2000:]
        assert server.process.poll() is None, log
        assert time.monotonic() < deadline_s, log
        time.sleep(0.05)


def available(server: Server, model: str, version: int) -> bool:
    """Whether a version answers requests."""
    states = server.get(f"/v1/models/{model}").json().get("model_version_status", [])
    return any((s["version"], s["state"]) == (str(version), "AVAILABLE") for s in states)


def predict_request(model: str, images: np.ndarray) -> predict_pb2.PredictRequest:
    """The client's request for images, as a message of `tensorflow-serving-api`."""
    request = predictions.predict_request(model, images)
    return predict_pb2.PredictRequest.FromString(request.SerializeToString())


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


def digits_answer(folder: Path, images: np.ndarray) -> np.ndarray:
    """The probabilities that a SavedModel returns in this process."""
    import tensorflow as tf

    module = tf.saved_model.load(str(folder))
    signature = module.signatures["predict_images"]
    return signature(images=tf.constant(images))["probabilities"].numpy()  # type: ignore[no-any-return]
