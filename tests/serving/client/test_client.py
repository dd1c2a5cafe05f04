"""The client with a real server: deadlines, retries, and errors that state what to do."""

import asyncio
import http.server
import threading
import time
from concurrent import futures
from pathlib import Path

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from components.images.idx_format import ImagesAndLabels
from serving import addresses, launcher
from serving.client import AsyncClient, Client, Prediction
from serving.errors import (
    InvalidRequestError,
    ModelNotFoundError,
    ServerStartError,
    ServerUnavailableError,
)


def test_predict_returns_a_row_of_probabilities_for_each_image(
    server_address: str, test_digits: ImagesAndLabels
) -> None:
    with Client(server_address, "mnist") as client:
        by_pixels = client.predict(test_digits.images[:50])
        by_floats = client.predict(test_digits.images[:50] / 255)
    assert by_pixels.probabilities.shape == (50, 10)
    assert by_pixels.version == 3
    np.testing.assert_allclose(by_pixels.probabilities, by_floats.probabilities, atol=1e-6)
    np.testing.assert_array_equal(by_pixels.digits, by_pixels.probabilities.argmax(axis=1))
    assert 0 < by_pixels.latency_s < 60


def test_an_unknown_model_is_named(server_address: str) -> None:
    with (
        Client(server_address, "other") as client,
        pytest.raises(ModelNotFoundError, match="other"),
    ):
        client.predict(np.zeros((1, 28, 28), np.uint8))


def test_no_server_is_reported_within_the_deadline() -> None:
    port = addresses.free_port()
    start_s = time.monotonic()
    with (
        Client(f"127.0.0.1:{port}", "mnist", timeout_s=1.0) as client,
        pytest.raises(ServerUnavailableError, match=f"127.0.0.1:{port} within 1 s"),
    ):
        client.predict(np.zeros((1, 28, 28), np.uint8))
    assert 0.5 < time.monotonic() - start_s < 20


def test_a_server_of_another_protocol_is_reported_at_once() -> None:
    """Such as the REST port; the client does not try again until the deadline."""
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with (
            Client(f"127.0.0.1:{server.server_port}", "mnist", timeout_s=600) as client,
            pytest.raises(ServerUnavailableError, match="give its gRPC port instead of its REST"),
        ):
            client.predict(np.zeros((1, 28, 28), np.uint8))
        server.shutdown()


def test_lists_are_arrays(server_address: str) -> None:
    with Client(server_address, "mnist") as client:
        zeros = np.zeros((1, 28, 28))
        found = client.predict(zeros.tolist()).probabilities
        np.testing.assert_array_equal(found, client.predict(zeros).probabilities)
        with pytest.raises(InvalidRequestError, match=r"is \[1, 2\]; expected \[batch, 28, 28\]"):
            client.predict([[1, 2]])
        with pytest.raises(InvalidRequestError, match="images cannot be converted to an array: "):
            client.predict([[1, 2], [3]])  # type: ignore[list-item]


class _Failing(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    """A servicer that fails with a status a given number of times."""

    def __init__(self, code: grpc.StatusCode) -> None:
        self.calls = 0
        self._code = code

    def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        self.calls += 1
        context.abort(self._code, "no")


@pytest.mark.parametrize(
    ("code", "tries_again"),
    [(grpc.StatusCode.UNAVAILABLE, True), (grpc.StatusCode.INTERNAL, False)],
)
def test_only_unavailable_is_retried(code: grpc.StatusCode, tries_again: bool) -> None:
    failing = _Failing(code)
    server = grpc.server(futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(failing, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with (
            Client(f"127.0.0.1:{port}", "mnist", timeout_s=1.0) as client,
            pytest.raises(Exception, match="no"),
        ):
            client.predict(np.zeros((1, 28, 28), np.uint8))
    finally:
        server.stop(None).wait()
    assert (failing.calls > 2) == tries_again
    assert failing.calls == 1 or tries_again


def test_the_client_waits_for_a_server_that_starts_late(model_folder: Path, tmp_path: Path) -> None:
    """The client starts first; its call is answered after the server starts."""
    port = addresses.free_port()
    answers = []

    def ask() -> None:
        with Client(f"127.0.0.1:{port}", "mnist", timeout_s=120) as client:
            client.wait_until_ready(timeout_s=120)
            answers.append(client.predict(np.zeros((2, 28, 28), np.uint8)))

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(0.3)
    with launcher.running("mnist", model_folder, tmp_path / "log.txt", port=port) as server:
        asking.join(timeout=120)
        server.check()
    assert answers[0].probabilities.shape == (2, 10)
    with pytest.raises(ServerStartError, match="ended with exit code"):
        server.check()


def test_waiting_gives_up_with_what_the_server_reported(tmp_path: Path) -> None:
    (tmp_path / "mnist" / "5").mkdir(parents=True)
    with (
        launcher.running("mnist", tmp_path / "mnist", tmp_path / "log.txt") as server,
        Client(server.address, "mnist") as client,
        pytest.raises(ServerUnavailableError, match="mnist failed to load: version 5 at"),
    ):
        client.wait_until_ready(timeout_s=120, check=server.check, fail_fast=True)


async def _ask_many(address: str, images: np.ndarray) -> list[Prediction]:
    async with AsyncClient(address, "mnist") as client:
        assert await client.wait_until_ready() == 3
        return await asyncio.gather(*(client.predict(images[n : n + 1]) for n in range(20)))


def test_the_asyncio_client_asks_at_the_same_time(
    server_address: str, test_digits: ImagesAndLabels
) -> None:
    answers = asyncio.run(_ask_many(server_address, test_digits.images))
    with Client(server_address, "mnist") as client:
        expected = client.predict(test_digits.images[:20])
    found = np.concatenate([answer.probabilities for answer in answers])
    np.testing.assert_allclose(found, expected.probabilities, rtol=1e-4, atol=1e-6)
    assert {answer.version for answer in answers} == {3}


async def _ask_nobody(port: int) -> None:
    async with AsyncClient(f"127.0.0.1:{port}", "mnist", timeout_s=1.0) as client:
        await client.predict(np.zeros((1, 28, 28), np.uint8))


def test_no_server_is_reported_at_once() -> None:
    port = addresses.free_port()
    start_s = time.monotonic()
    with pytest.raises(ServerUnavailableError, match=f"127.0.0.1:{port} within 1 s"):
        asyncio.run(_ask_nobody(port))
    assert 0.5 < time.monotonic() - start_s < 20


def test_a_version_and_a_label_exclude_each_other(server_address: str) -> None:
    with (
        Client(server_address, "mnist") as client,
        pytest.raises(InvalidRequestError, match="version 3 and label stable are both given"),
    ):
        client.predict(np.zeros((1, 28, 28), np.uint8), version=3, label="stable")
    with (
        Client(server_address, "mnist") as client,
        pytest.raises(ModelNotFoundError, match=r"Specific\(mnist, 8\)"),
    ):
        client.predict(np.zeros((1, 28, 28), np.uint8), version=8)
