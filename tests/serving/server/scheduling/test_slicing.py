"""Large requests run in slices, which interleave and stop with their request."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from serving.errors import InvalidRequestError
from serving.server.scheduling.slicing import run_in_slices


class Doubling:
    """Stands for a signature with a batch dimension."""

    is_sliceable = True


class Recording:
    """A scheduler that runs each call at once and records the sizes."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.held: list[Future[Any]] = []
        self.is_holding = False

    def check(self, inputs: Mapping[str, np.ndarray]) -> None:
        if len(inputs["x"]) > 100:
            raise InvalidRequestError("too many")

    def submit(self, signature: object, inputs: Mapping[str, np.ndarray]) -> Future[Any]:
        self.sizes.append(len(inputs["x"]))
        future: Future[Any] = Future()
        if self.is_holding:
            self.held.append(future)
        else:
            future.set_result(self.answer(inputs["x"]))
        return future

    def answer(self, x: np.ndarray) -> dict[str, np.ndarray]:
        return {"y": 2 * x}


def _run(scheduler: Recording, rows: int, in_slice: int, signature: Any = None) -> Any:
    inputs = {"x": np.arange(rows)}
    call = run_in_slices(scheduler, signature or Doubling(), inputs, in_slice)  # type: ignore[arg-type]
    return asyncio.run(call)


@pytest.mark.parametrize(
    ("rows", "in_slice", "sizes"),
    [(10, 4, [4, 4, 2]), (8, 4, [4, 4]), (4, 4, [4]), (10, 0, [10]), (1, 4, [1])],
)
def test_slices_of_a_request_are_joined_in_order(
    rows: int, in_slice: int, sizes: list[int]
) -> None:
    scheduler = Recording()
    outputs = _run(scheduler, rows, in_slice)
    np.testing.assert_array_equal(outputs["y"], 2 * np.arange(rows))
    assert scheduler.sizes == sizes


def test_a_signature_without_a_batch_dimension_runs_as_a_whole() -> None:
    class Whole:
        is_sliceable = False

    scheduler = Recording()
    _run(scheduler, 10, 4, Whole())
    assert scheduler.sizes == [10]


def test_outputs_that_are_not_one_row_for_each_example_are_not_joined() -> None:
    class Summing(Recording):
        def answer(self, x: np.ndarray) -> dict[str, np.ndarray]:
            return {"y": np.array([x.sum()])}

    scheduler = Summing()
    assert _run(scheduler, 10, 4)["y"].tolist() == [45]
    assert scheduler.sizes == [4, 10], "the first slice showed it"


def test_the_whole_request_is_checked_before_a_slice_runs() -> None:
    scheduler = Recording()
    with pytest.raises(InvalidRequestError, match="too many"):
        _run(scheduler, 101, 4)
    assert scheduler.sizes == []


def test_no_slice_of_a_cancelled_request_starts() -> None:
    async def cancel() -> Recording:
        scheduler = Recording()
        scheduler.is_holding = True
        call = run_in_slices(scheduler, Doubling(), {"x": np.arange(40)}, 4)  # type: ignore[arg-type]
        task = asyncio.ensure_future(call)
        while not scheduler.held:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.01)
        return scheduler

    scheduler = asyncio.run(cancel())
    assert scheduler.sizes == [4]
    assert scheduler.held[0].cancelled(), "it had not started, so it never runs"
