"""Clients of other authors: each gets the answer that this project's own client gets."""

import json
import shutil
import subprocess
import time

import grpc_requests
import numpy as np
import ovmsclient
import pytest
import tensorflow as tf
from doubles.model_server import TIMEOUT_S, Server
from tensorflow_serving.apis import predict_pb2
from tfx.components.infra_validator.model_server_clients import tensorflow_serving_client

A, B = np.array([1.0, 2.0], np.float32), np.array([3.0, 4.0], np.float32)
TOTAL = [4.0, 6.0]


def test_ovmsclient_over_grpc(server: Server) -> None:
    """Its default version, 0, is a version that does not exist, as it is for TF Serving."""
    client = ovmsclient.make_grpc_client(server.address)
    answer = client.predict({"a": A, "b": B}, "toy", model_version=1)
    assert answer["total"].tolist() == TOTAL
    assert client.get_model_status("toy", model_version=1)[1]["state"] == "AVAILABLE"
    metadata = client.get_model_metadata("toy", model_version=1)
    assert metadata["inputs"]["a"] == {"shape": [-1], "dtype": "DT_FLOAT"}


def test_ovmsclient_over_http(server: Server) -> None:
    client = ovmsclient.make_http_client(server.rest.removeprefix("http://"))
    answer = client.predict({"a": A, "b": B}, "toy", model_version=1)
    assert answer["total"].tolist() == TOTAL
    assert client.get_model_status("toy", model_version=1)[1]["state"] == "AVAILABLE"


def test_grpc_requests_by_reflection(server: Server) -> None:
    client = grpc_requests.Client.get_by_endpoint(server.address)
    tensors = {
        name: {
            "dtype": "DT_FLOAT",
            "tensor_shape": {"dim": [{"size": len(values)}]},
            "float_val": values.tolist(),
        }
        for name, values in (("a", A), ("b", B))
    }
    request = {"model_spec": {"name": "toy"}, "inputs": tensors}
    answer = client.request("tensorflow.serving.PredictionService", "Predict", request)
    assert answer["outputs"]["total"]["float_val"] == TOTAL


@pytest.mark.skipif(not shutil.which("grpcurl"), reason="grpcurl is not on PATH")
def test_grpcurl_by_reflection(server: Server) -> None:
    tensors = {
        name: {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": 2}]}, "float_val": value}
        for name, value in (("a", A.tolist()), ("b", B.tolist()))
    }
    request = json.dumps({"model_spec": {"name": "toy"}, "inputs": tensors})
    method = "tensorflow.serving.PredictionService/Predict"
    done = subprocess.run(
        ["grpcurl", "-plaintext", "-d", request, server.address, method],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=TIMEOUT_S,
    )
    assert json.loads(done.stdout)["outputs"]["total"]["float_val"] == TOTAL


def test_the_client_of_tfx(server: Server) -> None:
    """TFX's InfraValidator uses it."""
    client = tensorflow_serving_client.TensorFlowServingClient(server.address, "toy")
    client.WaitUntilModelLoaded(time.time() + TIMEOUT_S, polling_interval_sec=1)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "toy"
    for name, values in (("a", A), ("b", B)):
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    client.SendRequests([request])
