"""The server, from outside: a real process, real stubs, TF Serving's codes and messages."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from components.idx_format import ImagesAndLabels
from serving import launcher
from serving.client import Client

TIMEOUT_S = 30


@pytest.fixture(scope="module")
def channel(server_address: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server_address) as channel:
        yield channel


@pytest.fixture(scope="module")
def prediction(channel: grpc.Channel) -> prediction_service_pb2_grpc.PredictionServiceStub:
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def model(channel: grpc.Channel) -> model_service_pb2_grpc.ModelServiceStub:
    return model_service_pb2_grpc.ModelServiceStub(channel)


def _request(signature: str = "predict_images", **inputs: object) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "mnist"
    request.model_spec.signature_name = signature
    for name, values in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    return request


def test_the_answer_is_the_models(
    prediction: prediction_service_pb2_grpc.PredictionServiceStub,
    exported_model: Path,
    test_digits: ImagesAndLabels,
) -> None:
    response = prediction.Predict(_request(images=test_digits.images[:40]), timeout=TIMEOUT_S)
    signature = tf.saved_model.load(str(exported_model)).signatures["predict_images"]
    expected = signature(images=tf.constant(test_digits.images[:40]))
    assert set(response.outputs) == {"probabilities", "predicted_class"}
    for name, values in expected.items():
        answered = tf.make_ndarray(response.outputs[name])
        assert answered.dtype == values.dtype.as_numpy_dtype
        np.testing.assert_allclose(answered, values, rtol=1e-5, atol=1e-7)
    assert response.model_spec.name == "mnist"
    assert response.model_spec.version.value == 3
    assert response.model_spec.signature_name == "predict_images"


def test_serialized_examples_are_answered_by_the_default_signature(
    prediction: prediction_service_pb2_grpc.PredictionServiceStub, test_digits: ImagesAndLabels
) -> None:
    example = tf.train.Example()
    pixels = test_digits.images[3].tobytes()
    example.features.feature["image"].bytes_list.value.append(pixels)
    request = _request(signature="", examples=[example.SerializeToString()])
    by_example = prediction.Predict(request, timeout=TIMEOUT_S)
    by_image = prediction.Predict(_request(images=test_digits.images[3:4]), timeout=TIMEOUT_S)
    np.testing.assert_allclose(
        tf.make_ndarray(by_example.outputs["probabilities"]),
        tf.make_ndarray(by_image.outputs["probabilities"]),
        rtol=1e-5,
        atol=1e-7,
    )
    assert by_example.model_spec.signature_name == "serving_default"


def test_an_output_filter_chooses(
    prediction: prediction_service_pb2_grpc.PredictionServiceStub,
) -> None:
    request = _request(images=np.zeros((1, 28, 28), np.uint8))
    request.output_filter.append("predicted_class")
    assert set(prediction.Predict(request, timeout=TIMEOUT_S).outputs) == {"predicted_class"}


def _spec(**fields: object) -> predict_pb2.PredictRequest:
    request = _request(images=np.zeros((1, 28, 28), np.uint8))
    for name, value in fields.items():
        if name == "version":
            request.model_spec.version.value = value
        elif name == "output_filter":
            request.output_filter.append(value)
        else:
            setattr(request.model_spec, name, value)
    return request


INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
ZEROS = np.zeros((1, 28, 28), np.uint8)


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (_spec(name=""), INVALID, "ModelSpec has no name specified."),
        (_spec(name="x"), NOT_FOUND, "Servable not found for request: Latest(x)"),
        (_spec(version=7), NOT_FOUND, "Servable not found for request: Specific(mnist, 7)"),
        (_spec(version_label="x"), INVALID, "Unrecognized servable version label: x"),
        (
            _spec(signature_name="x"),
            grpc.StatusCode.FAILED_PRECONDITION,
            'Serving signature key "x" not found.',
        ),
        (_spec(output_filter="x"), INVALID, "output tensor alias not found in signature: x"),
        (_request(), INVALID, "input size does not match signature: 0!=1"),
        (_request(images=ZEROS, more=ZEROS), INVALID, "input size does not match signature: 2!=1"),
        (_request(pictures=ZEROS), INVALID, "alias not found in signature: pictures"),
        (_request(images=np.zeros((1, 28, 28))), INVALID, "images is float64"),
        (_request(images=np.zeros((1, 27, 28), np.uint8)), INVALID, "of shape [1, 27, 28]"),
        (_request("serving_default", examples=[b"no example"]), INVALID, "parse"),
    ],
)
def test_what_does_not_fit_gets_tf_servings_code_and_message(
    prediction: prediction_service_pb2_grpc.PredictionServiceStub,
    request_: predict_pb2.PredictRequest,
    code: grpc.StatusCode,
    message: str,
) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        prediction.Predict(request_, timeout=TIMEOUT_S)
    assert raised.value.code() == code
    assert message in raised.value.details()
    good = prediction.Predict(_request(images=ZEROS), timeout=TIMEOUT_S)
    assert good.outputs, "the next good request is answered"


def test_what_is_not_there_yet_says_so(
    prediction: prediction_service_pb2_grpc.PredictionServiceStub,
) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        prediction.Classify(classification_pb2.ClassificationRequest(), timeout=TIMEOUT_S)
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_metadata_are_the_signatures(
    prediction: prediction_service_pb2_grpc.PredictionServiceStub,
) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "mnist"
    response = prediction.GetModelMetadata(request, timeout=TIMEOUT_S)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert response.model_spec.version.value == 3
    images = signatures.signature_def["predict_images"].inputs["images"]
    assert [dim.size for dim in images.tensor_shape.dim] == [-1, 28, 28]
    assert images.dtype == tf.uint8.as_datatype_enum


def test_status_is_available(model: model_service_pb2_grpc.ModelServiceStub) -> None:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "mnist"
    (status,) = model.GetModelStatus(request, timeout=TIMEOUT_S).model_version_status
    assert (status.version, status.state) == (3, 30)
    assert status.status.error_code == 0


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("x", None, "Could not find any versions of model x"),
        ("mnist", 7, "Could not find version 7 of model mnist"),
    ],
)
def test_status_of_what_is_unknown(
    model: model_service_pb2_grpc.ModelServiceStub, name: str, version: int | None, message: str
) -> None:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    with pytest.raises(grpc.RpcError) as raised:
        model.GetModelStatus(request, timeout=TIMEOUT_S)
    assert (raised.value.code(), raised.value.details()) == (NOT_FOUND, message)


def test_health_is_serving(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "tensorflow.serving.PredictionService"):
        response = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)
        assert response.status == health_pb2.HealthCheckResponse.SERVING


def test_it_listens_on_loopback_only(server_address: str) -> None:
    host, _, port = server_address.partition(":")
    assert host == "127.0.0.1"
    listening = "0A"
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            if state == listening and int(local.rpartition(":")[2], 16) == int(port):
                found.append(local.rpartition(":")[0])
    # The last four bytes, in the order of this machine, of an IPv4 or a mapped IPv6 address.
    assert [socket.inet_ntoa(bytes.fromhex(a)[-4:][::-1]) for a in found] == ["127.0.0.1"]


def test_sigterm_ends_it_with_0_and_a_taken_port_with_1(model_folder: Path, tmp_path: Path) -> None:
    port = launcher.free_port()
    command = [sys.executable, "-m", "serving.server", f"--port={port}", "--model_name=mnist"]
    command.append(f"--model_base_path={model_folder}")
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with Client(f"127.0.0.1:{port}", "mnist") as client:
            client.wait_until_ready(timeout_s=120)
        second = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert second.returncode == 1
        assert f"127.0.0.1:{port} cannot be listened on" in second.stderr
        process.send_signal(signal.SIGTERM)
        start_s = time.monotonic()
        assert process.wait(timeout=30) == 0
        assert time.monotonic() - start_s < 15
    finally:
        process.kill()
        process.wait()
