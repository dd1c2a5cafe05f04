"""Any request gets a documented error or a clean end, and the next good request is answered."""

import contextlib
import json
import re
import resource
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
import tensorflow as tf
from doubles.model_server import (
    TIMEOUT_S,
    Server,
    available,
    digits_answer,
    predict_request,
    started,
    wait_for,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2

from serving.client import Client
from serving.server import tensors
from serving.server.rest import json_values

ZEROS = np.zeros((1, 28, 28), np.uint8)
PREDICT = "/tensorflow.serving.PredictionService/Predict"
REJECTIONS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.NOT_FOUND,
}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, exported_model: Path) -> Iterator[Server]:
    """A server with batching, so that a bad request could affect a good one."""
    folder = tmp_path_factory.mktemp("target")
    shutil.copytree(exported_model, folder / "mnist" / "3")
    flags = ["--model_name=mnist", f"--model_base_path={folder / 'mnist'}", "--enable_batching"]
    with started(folder, *flags) as server:
        wait_for(lambda: available(server, "mnist", 3), server)
        yield server
        assert server.process.poll() is None


@pytest.fixture(autouse=True)
def _still_answers(target: Server) -> Iterator[None]:
    yield
    request = predict_request("mnist", ZEROS)
    assert target.prediction.Predict(request, timeout=TIMEOUT_S).outputs


def _raw(server: Server, content: bytes) -> grpc.StatusCode:
    predict = server.channel.unary_unary(PREDICT)
    try:
        predict(content, timeout=TIMEOUT_S)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


names = st.sampled_from(["", "mnist", "x", "images", "examples", "inputs", "predict_images", "é"])
dtypes = st.sampled_from([0, 1, 2, 3, 4, 7, 9, 10, 14, 19, 22, 101, 999])
sizes = st.lists(st.sampled_from([-1, 0, 1, 2, 27, 28, 2**40]), max_size=4)


@st.composite
def any_tensor(draw: st.DrawFn) -> tensor_pb2.TensorProto:
    """Tensors whose fields may contradict each other."""
    tensor = tensor_pb2.TensorProto(dtype=draw(dtypes))
    if draw(st.booleans()):
        tensor.tensor_shape.unknown_rank = draw(st.booleans())
    for size in draw(sizes):
        tensor.tensor_shape.dim.add(size=size)
    if draw(st.booleans()):
        tensor.tensor_content = draw(st.binary(max_size=64) | st.just(bytes(784)))
    tensor.int_val.extend(draw(st.lists(st.integers(-300, 300), max_size=3)))
    tensor.float_val.extend(draw(st.lists(st.floats(width=32), max_size=3)))
    tensor.string_val.extend(draw(st.lists(st.binary(max_size=8), max_size=3)))
    return tensor


@st.composite
def requests(draw: st.DrawFn) -> predict_pb2.PredictRequest:
    """Requests of all kinds; some are good."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = draw(st.just("mnist") | names)
    request.model_spec.signature_name = draw(st.just("predict_images") | names)
    if draw(st.booleans()):
        request.model_spec.version.value = draw(st.sampled_from([-1, 0, 3, 2**62]))
    elif draw(st.booleans()):
        request.model_spec.version_label = draw(names)
    for name in draw(st.lists(st.just("images") | names, max_size=2)):
        request.inputs[name].CopyFrom(draw(any_tensor()))
    request.output_filter.extend(draw(st.lists(st.just("probabilities") | names, max_size=2)))
    return request


_settings = settings(
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@_settings
@given(request=requests())
def test_any_request_is_answered_or_rejected(
    target: Server, request: predict_pb2.PredictRequest
) -> None:
    code = _raw(target, request.SerializeToString())
    assert code in {grpc.StatusCode.OK, *REJECTIONS}, request


@_settings
@given(content=st.binary(max_size=300))
def test_any_bytes_are_answered_or_rejected(target: Server, content: bytes) -> None:
    assert _raw(target, content) in REJECTIONS


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=3),
    max_leaves=20,
)


@_settings
@given(key=st.sampled_from(["instances", "inputs"]), values=any_json, signature=names | any_json)
def test_any_json_is_answered_or_rejected(
    target: Server, key: str, values: object, signature: object
) -> None:
    body = json.dumps({key: values, "signature_name": signature})
    url = f"{target.rest}/v1/models/mnist:predict"
    response = httpx.post(url, content=body, timeout=TIMEOUT_S)
    assert response.status_code in (200, 400), response.text
    assert set(response.json()) <= {"error", "predictions", "outputs"}


@_settings
@given(array=st.lists(st.lists(st.floats(width=32), min_size=2, max_size=2), max_size=4))
def test_floats_survive_the_protocol_and_json(array: list[list[float]]) -> None:
    values = np.array(array, np.float32).reshape(len(array), 2)
    tensor = tensor_pb2.TensorProto()
    tensors.encode(values, tensor)
    np.testing.assert_array_equal(tensors.decode("x", tensor), values)
    plain = np.array(json_values.to_values(values, False), np.float32).reshape(-1, 2)
    np.testing.assert_array_equal(plain, values)


@pytest.mark.parametrize("value", ["1" * 400, "[" * 900 + "]" * 900, '{"b64": "?"}', "-1", "256"])
def test_json_that_is_not_a_number_of_the_dtype_is_rejected(target: Server, value: str) -> None:
    for signature in ("predict_images", "predict_float_images"):
        body = f'{{"signature_name": "{signature}", "inputs": {value}}}'
        url = f"{target.rest}/v1/models/mnist:predict"
        response = httpx.post(url, content=body, timeout=TIMEOUT_S)
        assert response.status_code == 400, response.text


def test_a_nan_is_rejected_and_spoils_no_other_answer(target: Server) -> None:
    images = np.full((1, 28, 28), np.nan, np.float32)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "mnist"
    request.model_spec.signature_name = "predict_float_images"
    request.inputs["images"].CopyFrom(tf.make_tensor_proto(images))
    futures = [
        target.prediction.Predict.future(request if n % 2 else _good(), timeout=TIMEOUT_S)
        for n in range(20)
    ]
    for number, future in enumerate(futures):
        if number % 2:
            assert future.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert "a pixel is NaN or infinite" in future.details()
        else:
            assert sum(future.result().outputs["probabilities"].float_val) == pytest.approx(1)


def _good() -> predict_pb2.PredictRequest:
    return predict_request("mnist", np.zeros((1, 28, 28), np.float32))


def test_an_invalid_example_fails_alone(target: Server, exported_model: Path) -> None:
    expected = digits_answer(exported_model, ZEROS)[0]
    example = tf.train.Example()
    example.features.feature["image"].bytes_list.value.append(ZEROS.tobytes())

    def ask(serialized: bytes) -> grpc.Future:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "mnist"
        request.inputs["examples"].CopyFrom(tf.make_tensor_proto([serialized]))
        return target.prediction.Predict.future(request, timeout=TIMEOUT_S)

    # TensorFlow quotes the example in its message; these bytes are not UTF-8.
    garbage = b"\xff\xfe secret"
    futures = [ask(garbage if n % 5 == 0 else example.SerializeToString()) for n in range(40)]
    for number, future in enumerate(futures):
        if number % 5 == 0:
            assert future.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert "Could not parse example input" in future.details()
        else:
            found = future.result().outputs["probabilities"].float_val
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_a_message_of_100_mb_is_rejected(target: Server) -> None:
    assert _raw(target, bytes(100 * 2**20)) == grpc.StatusCode.RESOURCE_EXHAUSTED
    response = None
    # The server may close the connection before all is sent.
    with contextlib.suppress(httpx.WriteError, httpx.ReadError):
        url = f"{target.rest}/v1/models/mnist:predict"
        response = httpx.post(url, content=bytes(100 * 2**20), timeout=TIMEOUT_S)
    assert response is None or response.status_code == 413


def test_a_message_that_cannot_be_parsed_gets_a_sentence(target: Server) -> None:
    deep = b""
    for _ in range(6000):  # a field of type message in itself; the depth is limited
        head = predict_pb2.PredictRequest.DESCRIPTOR.fields_by_name["model_spec"].number << 3 | 2
        size, rest = [], len(deep)
        while rest > 127:
            size.append(rest & 127 | 128)
            rest >>= 7
        deep = bytes([head, *size, rest]) + deep
    for content in (b"\x0a\xff\xff", b"\xff" * 20, deep):
        with pytest.raises(grpc.RpcError) as raised:
            target.channel.unary_unary(PREDICT)(content, timeout=TIMEOUT_S)
        assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert raised.value.details() == (
            "the message cannot be parsed; expected tensorflow.serving.PredictRequest in "
            "protobuf's binary format."
        )


def test_ten_million_empty_strings_are_rejected(target: Server) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "mnist"
    tensor = request.inputs["examples"]
    tensor.dtype = tf.string.as_datatype_enum
    tensor.tensor_shape.dim.add(size=10_000_000)
    head = request.SerializeToString()
    assert _raw(target, head) == grpc.StatusCode.INVALID_ARGUMENT
    tensor.string_val.extend([b""] * 10_000_000)
    assert _raw(target, request.SerializeToString()) == grpc.StatusCode.INVALID_ARGUMENT


def test_more_examples_than_the_limit_are_rejected(target: Server) -> None:
    request = predict_request("mnist", np.zeros((10_001, 28, 28), np.uint8))
    with pytest.raises(grpc.RpcError) as raised:
        target.prediction.Predict(request, timeout=TIMEOUT_S)
    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert raised.value.details() == (
        "the request has 10001 examples; the maximum is 10000 (--max_request_rows). Send several "
        "requests."
    )


def _connected(server: Server) -> socket.socket:
    host, _, port = server.rest.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=TIMEOUT_S)


def _exchange(server: Server, content: bytes) -> bytes:
    """Sends bytes to the REST port, and reads until the server closes the connection."""
    with _connected(server) as connection:
        connection.sendall(content)
        received = b""
        while chunk := connection.recv(4096):
            received += chunk
    return received


def test_a_request_with_two_lengths_is_rejected_and_ends_the_connection(target: Server) -> None:
    """The second request is hidden in the body of the first, as some proxies read it."""
    hidden = b"GET /v1/models/mnist HTTP/1.1\r\nHost: x\r\n\r\n"
    first = (
        b"POST /v1/models/mnist:predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Length: %d\r\n\r\n0\r\n\r\n"
    )
    received = _exchange(target, first % (len(hidden) + 5) + hidden)
    assert received.count(b"HTTP/1.1 ") == 1
    assert received.startswith(b"HTTP/1.1 400")
    assert b"both Transfer-Encoding and Content-Length" in received


def test_a_small_request_cannot_allocate_gigabytes(target: Server) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "mnist"
    request.model_spec.signature_name = "predict_images"
    tensor = request.inputs["images"]
    tensor.dtype = tf.uint8.as_datatype_enum
    tensor.int_val.append(1)
    for size in (2**31, 28, 28):
        tensor.tensor_shape.dim.add(size=size)
    assert _raw(target, request.SerializeToString()) == grpc.StatusCode.INVALID_ARGUMENT


def test_a_long_name_gets_a_short_message(target: Server) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "é" * 1_000_000
    with pytest.raises(grpc.RpcError) as raised:
        target.prediction.Predict(request, timeout=TIMEOUT_S)
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND


def test_cancelled_calls_do_not_hold_up_others(target: Server) -> None:
    """Eight large requests are cancelled; the slices that have not started never run."""
    request = predict_request("mnist", np.zeros((1000, 28, 28), np.uint8))
    futures = [target.prediction.Predict.future(request, timeout=TIMEOUT_S) for _ in range(8)]
    time.sleep(0.05)
    for future in futures:
        future.cancel()
    assert {future.code() for future in futures} <= {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.OK,
    }
    with Client(target.address, "mnist", timeout_s=TIMEOUT_S) as client:
        assert client.predict(ZEROS).version == 3


def test_too_many_inputs_at_a_time_are_unavailable(tmp_path: Path, exported_model: Path) -> None:
    """40 requests with 10,000 images each have 300 MiB; some are rejected, the rest cancelled."""
    shutil.copytree(exported_model, tmp_path / "mnist" / "1")
    flags = ["--model_name=mnist", f"--model_base_path={tmp_path / 'mnist'}"]
    with started(tmp_path, *flags) as server:
        wait_for(lambda: available(server, "mnist", 1), server)
        request = predict_request("mnist", np.zeros((10_000, 28, 28), np.uint8))
        futures = [server.prediction.Predict.future(request, timeout=600) for _ in range(40)]
        rejected: list[grpc.Future] = []
        deadline_s = time.monotonic() + 300
        while not rejected:
            assert time.monotonic() < deadline_s
            done = [future for future in futures if future.done()]
            rejected = [future for future in done if future.code() is grpc.StatusCode.UNAVAILABLE]
            time.sleep(0.05)
        for future in futures:
            future.cancel()
        assert re.fullmatch(
            r"the requests in progress occupy \d+ MiB; the maximum is 256 MiB\. Send "
            r"the request again later\.",
            rejected[0].details(),
        )
        with Client(server.address, "mnist", timeout_s=TIMEOUT_S) as client:
            assert client.predict(ZEROS).version == 1


def test_a_rest_client_that_disconnects_stops_its_request(
    tmp_path: Path, exported_model: Path
) -> None:
    """The 5,000 images would take seconds; the metrics count the request as cancelled."""
    shutil.copytree(exported_model, tmp_path / "mnist" / "1")
    monitoring = tmp_path / "monitoring.pbtxt"
    monitoring.write_text("prometheus_config { enable: true }")
    flags = ["--model_name=mnist", f"--model_base_path={tmp_path / 'mnist'}"]
    with started(tmp_path, *flags, f"--monitoring_config_file={monitoring}") as server:
        wait_for(lambda: available(server, "mnist", 1), server)
        images = np.zeros((5000, 28, 28), np.uint8).tolist()
        body = json.dumps({"signature_name": "predict_images", "inputs": images}).encode()
        head = f"POST /v1/models/mnist:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}"
        with _connected(server) as connection:
            connection.sendall(f"{head}\r\n\r\n".encode() + body)
        counted = 'request_count{model_name="mnist",status="CANCELLED"} 1'
        wait_for(lambda: counted in server.get("/monitoring/prometheus/metrics").text, server)
        assert server.post("/v1/models/mnist:predict", {"inputs": []}).status_code == 400


def test_a_passed_deadline_is_reported(target: Server) -> None:
    request = predict_request("mnist", np.zeros((500, 28, 28), np.uint8))
    with pytest.raises(grpc.RpcError) as raised:
        target.prediction.Predict(request, timeout=0.05)
    assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_used_up_files_stop_neither_requests_nor_the_log(tmp_path: Path, toy_model: Path) -> None:
    """A server with 64 files gets 100 connections. Idle ones are closed after a time-out."""
    shutil.copytree(toy_model, tmp_path / "toy" / "1")
    limit = 'ulimit -n 64; exec "$0" "$@"'
    limited = ["sh", "-c", limit, sys.executable, "-m", "serving.server"]
    flags = ["--model_name=toy", f"--model_base_path={tmp_path / 'toy'}"]
    flags.append("--rest_api_timeout_in_ms=1000")
    with started(tmp_path, *flags, command=limited) as server, contextlib.ExitStack() as stack:
        wait_for(lambda: available(server, "toy", 1), server)
        for address in (server.address, server.rest.removeprefix("http://")):
            host, _, port = address.partition(":")
            for _ in range(50):
                stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
        wait_for(lambda: server.get("/v1/models/toy").status_code == 200, server)
        assert len(server.log.read_text().splitlines()) < 100


def test_a_thousand_idle_connections_do_not_block_clients(target: Server) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for address in (target.address, target.rest.removeprefix("http://")):
            host, _, port = address.partition(":")
            for _ in range(1000):
                stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
        with Client(target.address, "mnist", timeout_s=60) as client:
            assert client.predict(ZEROS).version == 3
        assert target.get("/v1/models/mnist").status_code == 200


def test_slow_rest_requests_and_headers_time_out(tmp_path: Path, exported_model: Path) -> None:
    shutil.copytree(exported_model, tmp_path / "mnist" / "1")
    flags = ["--model_name=mnist", f"--model_base_path={tmp_path / 'mnist'}"]
    with started(tmp_path, *flags, "--rest_api_timeout_in_ms=300") as server:
        wait_for(lambda: available(server, "mnist", 1), server)
        images = np.zeros((800, 28, 28), np.uint8).tolist()
        body = {"signature_name": "predict_images", "inputs": images}
        response = server.post("/v1/models/mnist:predict", body)
        assert response.status_code == 504
        assert response.json() == {"error": "the request timed out after 0.3 s"}
        headers = b"GET /v1/models/mnist HTTP/1.1\r\nHost: x\r\nX-Endless: "
        assert _exchange(server, headers) == b"", "the connection is closed"
