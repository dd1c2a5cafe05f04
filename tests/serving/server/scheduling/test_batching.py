"""Requests that wait at the same time run as one batch; each gets its own answer."""

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from serving.errors import InvalidRequestError, OverloadedError, ServerStartError
from serving.server.models.saved_model import Signature
from serving.server.scheduling.batching import Batching, BatchingParameters


class Doubling(Signature):
    """A signature that doubles its input, waits for the test, and records its batch sizes."""

    name = "doubling"

    def __init__(self) -> None:  # no model
        self.sizes: list[int] = []
        self.may_run = threading.Event()
        self.is_running = threading.Event()

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
        self.is_running.set()
        assert self.may_run.wait(30)
        self.sizes.append(len(inputs["x"]))
        if (inputs["x"] < 0).any():
            raise InvalidRequestError("below 0")
        return {"y": 2 * inputs["x"]}


def _array(*values: float) -> dict[str, np.ndarray]:
    return {"x": np.array(values)}


@pytest.fixture
def doubling() -> Doubling:
    return Doubling()


def _busy(doubling: Doubling, **parameters: Any) -> Batching:
    """A scheduler whose only thread is running a request."""
    batching = Batching(BatchingParameters(num_batch_threads=1, **parameters))
    batching.submit(doubling, _array(0))
    assert doubling.is_running.wait(30)
    return batching


def test_waiting_requests_share_a_batch(doubling: Doubling) -> None:
    batching = _busy(doubling)
    futures = [batching.submit(doubling, _array(*range(n))) for n in (1, 2, 3)]
    doubling.may_run.set()
    answers = [future.result(30)["y"].tolist() for future in futures]
    assert answers == [[0], [0, 2], [0, 2, 4]]
    assert doubling.sizes == [1, 6]
    batching.stop()


def test_no_batch_is_larger_than_allowed(doubling: Doubling) -> None:
    batching = _busy(doubling, max_batch_size=4)
    futures = [batching.submit(doubling, _array(1, 2)) for _ in range(5)]
    doubling.may_run.set()
    for future in futures:
        assert future.result(30)["y"].tolist() == [2, 4]
    assert doubling.sizes == [1, 4, 4, 2]
    with pytest.raises(InvalidRequestError, match="Task size 5 is larger than maximum .* size 4"):
        batching.submit(doubling, _array(*range(5)))
    batching.stop()


def test_a_batch_is_filled_up_to_an_allowed_size(doubling: Doubling) -> None:
    batching = _busy(doubling, max_batch_size=8, allowed_batch_sizes=(2, 4, 8))
    futures = [batching.submit(doubling, _array(n)) for n in (1, 2, 3)]
    doubling.may_run.set()
    assert [future.result(30)["y"].tolist() for future in futures] == [[2], [4], [6]]
    assert doubling.sizes == [2, 4]
    batching.stop()


def test_a_full_queue_rejects_and_later_requests_are_answered(doubling: Doubling) -> None:
    batching = _busy(doubling, max_batch_size=4, max_enqueued_batches=2)
    futures = [batching.submit(doubling, _array(1, 2)) for _ in range(4)]
    with pytest.raises(OverloadedError, match="queue to which this task was submitted is full"):
        batching.submit(doubling, _array(1))
    doubling.may_run.set()
    for future in futures:
        future.result(30)
    assert batching.submit(doubling, _array(3)).result(30)["y"].tolist() == [6]
    batching.stop()


def test_a_request_that_fails_a_batch_fails_alone(doubling: Doubling) -> None:
    batching = _busy(doubling)
    futures = [batching.submit(doubling, _array(n)) for n in (1, -1, 3)]
    doubling.may_run.set()
    with pytest.raises(InvalidRequestError, match="below 0"):
        futures[1].result(30)
    assert [futures[n].result(30)["y"].tolist() for n in (0, 2)] == [[2], [6]]
    batching.stop()


def test_a_cancelled_request_is_not_run(doubling: Doubling) -> None:
    batching = _busy(doubling)
    first, second = (batching.submit(doubling, _array(n)) for n in (1, 2))
    assert first.cancel()
    doubling.may_run.set()
    assert second.result(30)["y"].tolist() == [4]
    assert doubling.sizes == [1, 1]
    batching.stop()


def test_other_shapes_are_other_batches(doubling: Doubling) -> None:
    batching = _busy(doubling)
    wide = batching.submit(doubling, {"x": np.ones((2, 3))})
    narrow = batching.submit(doubling, {"x": np.ones((2, 1))})
    doubling.may_run.set()
    assert wide.result(30)["y"].shape == (2, 3)
    assert narrow.result(30)["y"].shape == (2, 1)
    assert doubling.sizes == [1, 2, 2]
    batching.stop()


def test_a_timeout_lets_a_batch_gather(doubling: Doubling) -> None:
    doubling.may_run.set()
    batching = Batching(BatchingParameters(num_batch_threads=1, batch_timeout_micros=300_000))
    futures = [batching.submit(doubling, _array(n)) for n in (1, 2)]
    assert [future.result(30)["y"].tolist() for future in futures] == [[2], [4]]
    assert doubling.sizes == [2]
    batching.stop()


def test_stop_runs_what_was_submitted(doubling: Doubling) -> None:
    doubling.may_run.set()
    batching = Batching(BatchingParameters(batch_timeout_micros=60_000_000))
    future = batching.submit(doubling, _array(1))
    batching.stop()
    assert future.result(0)["y"].tolist() == [2]


def test_requests_whose_output_has_no_batch_are_answered_one_by_one(doubling: Doubling) -> None:
    """Such an output cannot be divided among requests."""
    batching = _busy(doubling)
    sizes = []

    def scalar(inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
        sizes.append(len(inputs["x"]))
        return {"y": np.array(float(inputs["x"].sum()))}

    doubling.run = scalar  # type: ignore[method-assign]
    futures = [batching.submit(doubling, _array(n)) for n in (1, 2)]
    doubling.may_run.set()
    assert [future.result(30)["y"] for future in futures] == [1.0, 2.0]
    assert sizes == [2, 1, 1], "together first, then one by one"
    batching.stop()


def test_inputs_without_a_batch_are_rejected(doubling: Doubling) -> None:
    batching = Batching(BatchingParameters())
    with pytest.raises(InvalidRequestError, match="at least one dimension"):
        batching.submit(doubling, {"x": np.array(1.0)})
    with pytest.raises(InvalidRequestError, match="equal 0th-dimension size"):
        batching.submit(doubling, {"x": np.ones(2), "z": np.ones(3)})
    batching.stop()


def test_an_unexpected_error_reaches_no_other_request(doubling: Doubling) -> None:
    batching = _busy(doubling)

    def fail(inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
        if (inputs["x"] == 1).any():
            raise RuntimeError("with the content of a request")
        return {"y": inputs["x"]}

    doubling.run = fail  # type: ignore[method-assign]
    futures = [batching.submit(doubling, _array(n)) for n in (1, 2)]
    doubling.may_run.set()
    with pytest.raises(RuntimeError, match="with the content of a request"):
        futures[0].result(30)
    assert futures[1].result(30)["y"].tolist() == [2]
    batching.stop()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"allowed_batch_sizes": (4, 2), "max_batch_size": 4}, "the sizes must increase"),
        ({"allowed_batch_sizes": (2, 4), "max_batch_size": 8}, "end with max_batch_size, 8"),
        ({"num_batch_threads": 0}, "num_batch_threads is 0; the minimum is 1"),
    ],
)
def test_contradictory_parameters_are_rejected(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ServerStartError, match=message):
        BatchingParameters(**parameters)
