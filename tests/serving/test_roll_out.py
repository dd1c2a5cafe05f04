"""New versions, broken versions, other models and the server's end, while clients send requests."""

import contextlib
import functools
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from doubles.model_server import (
    BATCHING_PARAMETERS,
    MODELS_CONFIG,
    TIMEOUT_S,
    Server,
    available,
    digits_answer,
    predict_request,
    started,
    wait_for,
)
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2

from components import atomic_pusher
from components.images.idx_format import ImagesAndLabels
from serving import version_folders
from serving.client import Client
from serving.server import config_files, lifecycle
from serving.server import flags as command_line

ZEROS = np.zeros((1, 28, 28), np.uint8)


@contextlib.contextmanager
def _rolling(folder: Path, exported_model: Path, toy_model: Path) -> Iterator[Server]:
    """A server of version 1 of mnist, with batching; its folder also contains toy."""
    shutil.copytree(exported_model, folder / "mnist" / "1")
    shutil.copytree(toy_model, folder / "toy" / "1")
    flags = ["--model_name=mnist", f"--model_base_path={folder / 'mnist'}", "--enable_batching"]
    with started(folder, *flags, "--file_system_poll_wait_seconds=0.1") as server:
        wait_for(lambda: available(server, "mnist", 1), server)
        yield server


@pytest.fixture(scope="module")
def rolling(
    tmp_path_factory: pytest.TempPathFactory, exported_model: Path, toy_model: Path
) -> Iterator[Server]:
    """A server that tests share, and whose versions and list of models they do not rely on."""
    with _rolling(tmp_path_factory.mktemp("rolling"), exported_model, toy_model) as server:
        yield server


@pytest.fixture
def listed(rolling: Server, exported_model: Path) -> Server:
    """The same server with two versions of mnist, labels for them, and toy."""
    for version in (3, 4):
        if not (rolling.folder / "mnist" / str(version)).exists():
            shutil.copytree(exported_model, rolling.folder / "mnist" / str(version))
    _reload(rolling, MODELS_CONFIG.format(folder=rolling.folder))
    return rolling


class Asking:
    """Clients that send requests all the time; every answer must be that of one version."""

    def __init__(self, server: Server, images: np.ndarray, clients: int = 4):
        self.versions: list[int] = []
        self.answers: dict[int, list[np.ndarray]] = {}
        self.failures: list[str] = []
        self._stopped = threading.Event()
        self._arguments = server.address, images
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        address, images = self._arguments
        with Client(address, "mnist") as client:
            while not self._stopped.is_set():
                try:
                    prediction = client.predict(images)
                except Exception as error:
                    self.failures.append(str(error))
                    return
                self.versions.append(prediction.version)
                self.answers.setdefault(prediction.version, []).append(prediction.probabilities)

    def __enter__(self) -> "Asking":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def alone(tmp_path: Path, exported_model: Path, toy_model: Path) -> Iterator[Server]:
    """A server for one test."""
    with _rolling(tmp_path, exported_model, toy_model) as server:
        yield server


def test_no_request_fails_while_versions_come_and_go(
    alone: Server, exported_model: Path, second_model: Path, test_digits: ImagesAndLabels
) -> None:
    base = alone.folder / "mnist"
    images = test_digits.images[:2]
    expected = {1: digits_answer(exported_model, images)}
    with Asking(alone, images) as asking:
        for model in (second_model, exported_model, second_model):
            version = int(Path(atomic_pusher.push(str(model), str(base))).name)
            expected[version] = digits_answer(model, images)
            wait_for(functools.partial(available, alone, "mnist", version), alone)
            broken = base / str(version + 1)
            shutil.copytree(model, broken)
            next((broken / "variables").glob("*.data*")).write_bytes(b"half")
            wait_for(functools.partial(_has_error, alone, version + 1), alone)
            time.sleep(0.3)
            shutil.rmtree(broken)
        version_folders.serve(base, sorted(expected)[-2])
        wait_for(lambda: asking.versions[-1:] == [sorted(expected)[-2]], alone)
        assert not asking.failures
    assert not asking.failures
    assert set(asking.versions) == set(expected)
    for version, found in asking.answers.items():
        for answer in found:
            np.testing.assert_allclose(answer, expected[version], rtol=1e-3, atol=1e-5)


def _has_error(server: Server, version: int) -> bool:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "mnist"
    request.model_spec.version.value = version
    (status,) = server.model.GetModelStatus(request, timeout=TIMEOUT_S).model_version_status
    return bool(status.status.error_message)


def _reload(server: Server, text: str) -> model_management_pb2.ReloadConfigResponse:
    path = server.folder / "reload.config"
    path.write_text(text)
    config = config_files.model_server_config(path)
    request = model_management_pb2.ReloadConfigRequest(config=config)
    return server.model.HandleReloadConfigRequest(request, timeout=TIMEOUT_S)


def test_the_list_of_models_is_replaced_without_a_gap(alone: Server, exported_model: Path) -> None:
    """Two versions of mnist, labels for them, and another model, in one request."""
    base = alone.folder / "mnist"
    for version in (3, 4):
        shutil.copytree(exported_model, base / str(version))
    with Asking(alone, ZEROS) as asking:
        response = _reload(alone, MODELS_CONFIG.format(folder=alone.folder))
        assert response.status.error_code == 0
        assert available(alone, "toy", 1), "it answers when the new models do"
    assert not asking.failures
    with Client(alone.address, "mnist") as client:
        assert client.predict(ZEROS, label="stable").version == 3
        assert client.predict(ZEROS, version=4).version == 4


@pytest.mark.parametrize(
    ("old", "new", "code", "message"),
    [
        ("value: 4", "value: 99", grpc.StatusCode.FAILED_PRECONDITION, "label to version 99 of"),
        ('name: "toy"', 'name: "mnist"', grpc.StatusCode.INVALID_ARGUMENT, "mnist multiple times"),
        ('"tensorflow"', '"caffe"', grpc.StatusCode.INVALID_ARGUMENT, "has model_platform 'caffe'"),
        ('base_path: "/', 'base_path: "', grpc.StatusCode.INVALID_ARGUMENT, "an absolute path"),
        (
            "model_version_policy {{ all {{}} }}",
            "model_version_policy {{ specific {{}} }}",
            grpc.StatusCode.INVALID_ARGUMENT,
            "specific without versions; expected at least one.",
        ),
        ("/toy", "/" + "x" * 300, grpc.StatusCode.UNKNOWN, "cannot read the folder of a model: "),
        ("/toy", "/gone", grpc.StatusCode.UNKNOWN, "1 servable(s) did not become available: {toy"),
        ("{folder}/toy", "/proc", grpc.StatusCode.PERMISSION_DENIED, "toy is in /proc, outside of"),
        (
            "{folder}/toy",
            "{folder}/../toy",
            grpc.StatusCode.PERMISSION_DENIED,
            "outside of the folders of --reload_config_roots",
        ),
    ],
)
def test_an_invalid_list_of_models_is_rejected_and_changes_nothing(
    listed: Server, old: str, new: str, code: grpc.StatusCode, message: str
) -> None:
    text = MODELS_CONFIG.format(folder=listed.folder)
    old, new = (part.format(folder=listed.folder) for part in (old, new))
    assert old in text
    states = {model: listed.get(f"/v1/models/{model}").json() for model in ("mnist", "toy")}
    with pytest.raises(grpc.RpcError) as raised:
        _reload(listed, text.replace(old, new))
    assert raised.value.code() == code
    assert message in raised.value.details()
    with Client(listed.address, "mnist") as client:
        assert client.predict(ZEROS, label="stable").version == 3
    assert states == {model: listed.get(f"/v1/models/{model}").json() for model in states}
    assert _health(listed) == health_pb2.HealthCheckResponse.SERVING


def _health(server: Server) -> int:
    stub = health_pb2_grpc.HealthStub(server.channel)
    response = stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
    return response.status  # type: ignore[no-any-return]


def test_a_list_of_many_models_is_rejected(rolling: Server) -> None:
    entry = 'config {{ name: "m{}" base_path: "{}/toy" model_platform: "tensorflow" }}'
    models = "\n".join(entry.format(number, rolling.folder) for number in range(20_000))
    with pytest.raises(grpc.RpcError) as raised:
        _reload(rolling, f"model_config_list {{ {models} }}")
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details() == "the list has 20000 models; the maximum is 1000."


def test_a_server_can_reject_every_list_of_models(tmp_path: Path, toy_model: Path) -> None:
    shutil.copytree(toy_model, tmp_path / "toy" / "1")
    flags = [
        "--model_name=toy",
        f"--model_base_path={tmp_path / 'toy'}",
        "--enable_reload_config=false",
    ]
    with started(tmp_path, *flags) as server:
        wait_for(lambda: available(server, "toy", 1), server)
        with pytest.raises(grpc.RpcError) as raised:
            _reload(
                server,
                MODELS_CONFIG.format(folder=tmp_path),
            )
        assert raised.value.code() == grpc.StatusCode.PERMISSION_DENIED
        assert raised.value.details() == (
            "HandleReloadConfigRequest is off; --enable_reload_config=true enables it."
        )


@pytest.mark.parametrize(
    ("arguments", "is_allowed"),
    [
        (["--host=127.0.0.1"], True),
        (["--host=localhost"], True),
        (["--host=[::1]"], True),
        (["--host=0.0.0.0"], False),
        (["--host=[::]"], False),
        (["--host=192.0.2.1"], False),
        (["--host=0.0.0.0", "--enable_reload_config"], True),
        (["--host=0.0.0.0", "--ssl_config_file={mutual}"], True),
        (["--host=0.0.0.0", "--ssl_config_file={one_way}"], False),
    ],
)
def test_on_a_network_only_known_clients_replace_the_list_of_models(
    tmp_path: Path, arguments: list[str], is_allowed: bool
) -> None:
    files = {"mutual": tmp_path / "mutual", "one_way": tmp_path / "one_way"}
    files["mutual"].write_text("client_verify: true")
    files["one_way"].write_text("client_verify: false")
    given = [argument.format(**files) for argument in arguments]
    parsed = command_line.parse(["--model_base_path=/models/toy", *given])
    policy = lifecycle.reload_policy(parsed)
    assert policy.is_allowed is is_allowed
    assert policy.roots == (Path("/models"),)


def test_the_ports_open_after_the_first_load(tmp_path: Path, toy_model: Path) -> None:
    """A client of TF Serving takes an open port for a server that is ready."""
    base = tmp_path / "toy"
    flags = ["--model_name=toy", f"--model_base_path={base}", "--file_system_poll_wait_seconds=0.1"]
    with started(tmp_path, *flags) as server:
        wait_for(lambda: "watching" in server.log.read_text(), server)
        for address in (server.address, server.rest.removeprefix("http://")):
            host, _, port = address.partition(":")
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((host, int(port)), timeout=60)
        shutil.copytree(toy_model, tmp_path / "new" / "1")
        (tmp_path / "new").rename(base)
        wait_for(lambda: _health(server) == health_pb2.HealthCheckResponse.SERVING, server)
        assert available(server, "toy", 1)


@pytest.mark.parametrize("wait_s", ["0", "-1"])
def test_a_server_that_does_not_watch_listens(tmp_path: Path, toy_model: Path, wait_s: str) -> None:
    """0 looks once, a negative number never."""
    base = tmp_path / "toy"
    base.mkdir()
    flags = ["--model_name=toy", f"--model_base_path={base}"]
    with started(tmp_path, *flags, f"--file_system_poll_wait_seconds={wait_s}") as server:
        wait_for(lambda: "listening" in server.log.read_text(), server)
        shutil.copytree(toy_model, base / "1")
        assert _health(server) == health_pb2.HealthCheckResponse.NOT_SERVING


def test_it_listens_on_ipv6(tmp_path: Path, toy_model: Path) -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    shutil.copytree(toy_model, tmp_path / "toy" / "1")
    flags = ["--model_name=toy", f"--model_base_path={tmp_path / 'toy'}", "--host=[::1]"]
    with started(tmp_path, *flags) as server:
        wait_for(lambda: "listening" in server.log.read_text(), server)
        ports = [address.rpartition(":")[2] for address in (server.address, server.rest)]
        with grpc.insecure_channel(f"[::1]:{ports[0]}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            assert stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S).status
        url = f"http://[::1]:{ports[1]}/v1/models/toy"
        assert httpx.get(url, timeout=TIMEOUT_S).status_code == 200


def test_a_server_whose_only_version_is_broken_reports_the_reason(
    tmp_path: Path, toy_model: Path
) -> None:
    shutil.copytree(toy_model, tmp_path / "toy" / "1")
    (tmp_path / "toy" / "1" / "saved_model.pb").write_bytes(b"garbage")
    flags = ["--model_name=toy", f"--model_base_path={tmp_path / 'toy'}"]
    with started(tmp_path, *flags) as server:
        wait_for(lambda: server.get("/v1/models/toy").status_code == 200, server)
        (state,) = server.get("/v1/models/toy").json()["model_version_status"]
        assert state["state"] == "END"
        assert "failed to load" in state["status"]["error_message"]
        assert _health(server) == health_pb2.HealthCheckResponse.NOT_SERVING


def test_a_model_that_is_no_longer_listed_is_unloaded(listed: Server) -> None:
    text = MODELS_CONFIG.format(folder=listed.folder)
    _reload(listed, text[: text.rindex("config {")] + "}")
    assert listed.get("/v1/models/toy").status_code == 404
    assert listed.get("/v1/models/mnist").status_code == 200


def test_a_full_queue_is_unavailable_and_later_requests_are_answered(
    tmp_path: Path, exported_model: Path
) -> None:
    shutil.copytree(exported_model, tmp_path / "mnist" / "1")
    text = BATCHING_PARAMETERS.format(largest=8, timeout=0, waiting=1)
    (tmp_path / "batching.config").write_text(text)
    flags = ["--model_name=mnist", f"--model_base_path={tmp_path / 'mnist'}", "--enable_batching"]
    flags.append(f"--batching_parameters_file={tmp_path / 'batching.config'}")
    with started(tmp_path, *flags) as server:
        wait_for(lambda: available(server, "mnist", 1), server)
        request = predict_request("mnist", np.zeros((8, 28, 28), np.uint8))
        futures = [server.prediction.Predict.future(request, timeout=60) for _ in range(100)]
        codes = [future.code() for future in futures]
        rejected = [future for future in futures if future.code() != grpc.StatusCode.OK]
        assert codes.count(grpc.StatusCode.OK) >= 2
        assert {future.code() for future in rejected} == {grpc.StatusCode.UNAVAILABLE}
        assert {future.details() for future in rejected} == {
            "The batch scheduling queue to which this task was submitted is full"
        }
        with Client(server.address, "mnist") as client:
            assert client.predict(ZEROS).version == 1
        with pytest.raises(grpc.RpcError) as raised:
            large = predict_request("mnist", np.zeros((9, 28, 28), np.uint8))
            server.prediction.Predict(large, timeout=60)
        assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "Task size 9 is larger than maximum input batch size 8" in raised.value.details()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_finishes_the_requests_in_flight_and_ends_with_0(
    tmp_path: Path, exported_model: Path, number: signal.Signals
) -> None:
    shutil.copytree(exported_model, tmp_path / "mnist" / "1")
    flags = ["--model_name=mnist", f"--model_base_path={tmp_path / 'mnist'}"]
    with started(tmp_path, *flags) as server:
        wait_for(lambda: available(server, "mnist", 1), server)
        request = predict_request("mnist", np.zeros((256, 28, 28), np.uint8))
        futures = [server.prediction.Predict.future(request, timeout=60) for _ in range(4)]
        # The calls share a connection: after this answer, the server has all four.
        assert available(server, "mnist", 1)
        server.process.send_signal(number)
        assert [future.code() for future in futures] == [grpc.StatusCode.OK] * 4
        assert server.process.wait(timeout=120) == 0


def test_health_changes_before_the_requests_in_flight_are_done(
    tmp_path: Path, toy_model: Path
) -> None:
    """A load balancer must stop sending requests first. A REST request ends after the change."""
    shutil.copytree(toy_model, tmp_path / "toy" / "1")
    flags = ["--model_name=toy", f"--model_base_path={tmp_path / 'toy'}"]
    with started(tmp_path, *flags) as server, contextlib.ExitStack() as stack:
        wait_for(lambda: available(server, "toy", 1), server)
        body = b'{"signature_name": "total", "inputs": [1]}'
        head = b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
        host, _, port = server.rest.removeprefix("http://").partition(":")
        connection = stack.enter_context(socket.create_connection((host, int(port)), TIMEOUT_S))
        connection.sendall(head % len(body) + body[:10])
        assert available(server, "toy", 1)  # after this answer, the server has read the request
        stub = health_pb2_grpc.HealthStub(server.channel)
        changes = stub.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        assert next(changes).status == health_pb2.HealthCheckResponse.SERVING
        server.process.send_signal(signal.SIGTERM)
        assert next(changes).status == health_pb2.HealthCheckResponse.NOT_SERVING
        connection.sendall(body[10:])
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 OK")
        assert list(changes) == [], "the call ends, so that it does not hold up the server's end"
        assert server.process.wait(timeout=120) == 0


def test_a_request_that_does_not_end_is_answered_when_the_grace_is_over(
    tmp_path: Path, toy_model: Path
) -> None:
    shutil.copytree(toy_model, tmp_path / "toy" / "1")
    flags = ["--model_name=toy", f"--model_base_path={tmp_path / 'toy'}"]
    with started(tmp_path, *flags) as server:
        wait_for(lambda: available(server, "toy", 1), server)
        host, _, port = server.rest.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), TIMEOUT_S) as connection:
            connection.sendall(b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: x\r\n")
            connection.sendall(b"Content-Length: 100\r\n\r\n{")
            assert available(server, "toy", 1)  # after this answer, the server has read the request
            server.process.send_signal(signal.SIGTERM)
            received = b""
            while chunk := connection.recv(4096):
                received += chunk
        assert received.startswith(b"HTTP/1.1 503")
        assert b"the server is stopping" in received
        assert server.process.wait(timeout=120) == 0
        assert "Traceback" not in server.log.read_text()


def test_every_caller_of_watch_gets_each_change(tmp_path: Path, toy_model: Path) -> None:
    """Also after another one has ended; an unknown service is reported as such."""
    (tmp_path / "toy").mkdir()
    flags = ["--model_name=toy", f"--model_base_path={tmp_path / 'toy'}"]
    flags += ["--file_system_poll_wait_seconds=0.1"]
    shutil.copytree(toy_model, tmp_path / "toy" / "1")
    with started(tmp_path, *flags) as server:
        wait_for(lambda: available(server, "toy", 1), server)
        stub = health_pb2_grpc.HealthStub(server.channel)
        watch = functools.partial(stub.Watch, timeout=TIMEOUT_S)
        first, second = (watch(health_pb2.HealthCheckRequest()) for _ in range(2))
        unknown = watch(health_pb2.HealthCheckRequest(service="x"))
        assert next(first).status == next(second).status == health_pb2.HealthCheckResponse.SERVING
        assert next(unknown).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        first.cancel()
        assert _health(server) == health_pb2.HealthCheckResponse.SERVING
        shutil.rmtree(tmp_path / "toy" / "1")
        assert next(second).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.RpcError) as raised:
            stub.Check(health_pb2.HealthCheckRequest(service="x"), timeout=TIMEOUT_S)
        assert raised.value.code() == grpc.StatusCode.NOT_FOUND


def test_a_port_in_use_is_reported_in_one_sentence(rolling: Server, tmp_path: Path) -> None:
    port = rolling.address.rpartition(":")[2]
    rest = rolling.rest.rpartition(":")[2]
    for flags in ([f"--port={port}"], ["--port=0", f"--rest_api_port={rest}"]):
        command = [sys.executable, "-m", "serving.server", f"--model_base_path={tmp_path}", *flags]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 1
        assert "is in use by another program; choose another --" in done.stderr.splitlines()[-1]


def test_it_listens_on_loopback_only(rolling: Server) -> None:
    for address in (rolling.address, rolling.rest.removeprefix("http://")):
        port = int(address.rpartition(":")[2])
        found = []
        for table in ("tcp", "tcp6"):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                local, state = line.split()[1], line.split()[3]
                if state == "0A" and int(local.rpartition(":")[2], 16) == port:  # it listens
                    found.append(local.rpartition(":")[0])
        # The last four bytes, in the order of this machine, of an IPv4 or a mapped IPv6 address.
        assert [socket.inet_ntoa(bytes.fromhex(a)[-4:][::-1]) for a in found] == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "give --model_base_path or --model_config"),
        (["--model_base_path=gs://b/m"], "gs://b/m: only folders of this machine"),
        (["--model_base_path=/x", "--reload_config_roots=x"], "x: expected an absolute path"),
        (["--model_base_path=/x", "--grpc_channel_arguments=a"], "a: expected KEY=VALUE"),
        (
            ["--model_base_path=/x", "--prefer_tflite_model"],
            "--prefer_tflite_model is not supported: TensorFlow Lite models are not served",
        ),
        (["--model_base_path=/x", "--port=70000"], "expected a port, a number f"),
        (["--model_base_path=/x", "--enable_batching=perhaps"], "perhaps: expected"),
        (["--model_base_path=/x", "--unheard_of=1"], "unrecognized arguments: --unheard_of=1"),
        (["--model_base_path=/x", "--rest_api_port=8500"], "cannot be same as --port"),
        (
            ["--model_base_path=/x", "--batching_parameters_file=/y"],
            "--batching_parameters_file requires --enable_batching",
        ),
        (["--model_base_path=/x", "--rest_api_timeout_in_ms=-1"], "-1: expected a number, 1 or m"),
        (["--model_base_path=/x", "--file_system_poll_wait_seconds=nan"], "nan: expected a numb"),
        (["--model_base_path=/x", "--port=٣"], "expected a port, a number f"),
    ],
)
def test_wrong_flags_are_exit_code_2(flags: list[str], message: str) -> None:
    command = [sys.executable, "-m", "serving.server", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "model_config_list { config { nam: 'x' } }",
            "Error parsing text-format tensorflow.serving.ModelServerConfig: mistake in line 1",
        ),
        (MODELS_CONFIG.format(folder="/x"), "label to version [34] .*to use labels, set"),
        (None, "cannot read .*No such file"),
    ],
)
def test_an_invalid_models_file_is_reported_in_one_sentence(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "models.config"
    if text is not None:
        path.write_text(text)
    with started(tmp_path, f"--model_config_file={path}") as server:
        assert server.process.wait(60) == 1
        last_line = server.log.read_text().splitlines()[-1]
    assert last_line.startswith("serving: ")
    assert str(path) in last_line
    assert re.search(message, last_line)


def test_a_missing_monitoring_file_is_reported_at_the_start(tmp_path: Path) -> None:
    flags = [f"--model_base_path={tmp_path}", f"--monitoring_config_file={tmp_path / 'gone'}"]
    with started(tmp_path, *flags) as server:
        assert server.process.wait(60) == 1
        last_line = server.log.read_text().splitlines()[-1]
    assert last_line.startswith(f"serving: cannot read {tmp_path / 'gone'}")


def test_the_models_file_is_read_again(
    tmp_path: Path, exported_model: Path, toy_model: Path
) -> None:
    shutil.copytree(exported_model, tmp_path / "mnist" / "3")
    shutil.copytree(exported_model, tmp_path / "mnist" / "4")
    shutil.copytree(toy_model, tmp_path / "toy" / "1")
    both = MODELS_CONFIG.format(folder=tmp_path)
    path = tmp_path / "models.config"
    path.write_text(both[: both.rindex("config {")] + "}")
    flags = ["--model_config_file_poll_wait_seconds=0.2", f"--model_config_file={path}"]
    with started(tmp_path, *flags, "--allow_version_labels_for_unavailable_models=true") as server:
        wait_for(lambda: available(server, "mnist", 4), server)
        path.write_text("nonsense")
        time.sleep(0.6)
        assert available(server, "mnist", 4), "a file that is not understood changes nothing"
        path.write_text(both)
        wait_for(lambda: available(server, "toy", 1), server)
        with Client(server.address, "mnist") as client:
            assert client.predict(ZEROS, label="stable").version == 3
