"""The scheduler that batches: requests that wait at the same time become one call of the model.

A convolution of 32 images takes much less time than 32 convolutions of one. Requests gather while
the threads are busy, so batches grow with the load; a single request does not wait for others
unless `batch_timeout_micros` is set.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from serving.errors import (
    InvalidRequestError,
    OverloadedError,
    ServerStartError,
    ServingError,
)
from serving.server.models.saved_model import Arrays, Signature


@dataclass(frozen=True)
class BatchingParameters:
    """TF Serving's parameters of the same names, with its defaults."""

    max_batch_size: int = 1000
    """The maximum number of examples in a batch, and therefore in a request."""

    batch_timeout_micros: int = 0
    """How long a batch waits for more requests while a thread is free."""

    max_enqueued_batches: int = 10
    """The maximum number of full batches of a signature that wait."""

    num_batch_threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    """The number of batches that run at a time."""

    allowed_batch_sizes: Sequence[int] = ()
    """Batches are padded to the next of these sizes; the last is `max_batch_size`."""

    def __post_init__(self) -> None:
        sizes = self.allowed_batch_sizes
        if sizes and (list(sizes) != sorted(set(sizes)) or sizes[-1] != self.max_batch_size):
            raise ServerStartError(
                f"allowed_batch_sizes is {list(sizes)}; the sizes must increase and end with "
                f"max_batch_size, {self.max_batch_size}."
            )
        for name in ("max_batch_size", "max_enqueued_batches", "num_batch_threads"):
            if getattr(self, name) < 1:
                raise ServerStartError(f"{name} is {getattr(self, name)}; the minimum is 1.")

    @classmethod
    def from_message(cls, message: Message) -> Self:
        """From the message in the file; omitted fields have their defaults."""
        given = {
            name: getattr(message, name).value
            for name in (
                "max_batch_size",
                "batch_timeout_micros",
                "max_enqueued_batches",
                "num_batch_threads",
            )
            if message.HasField(name)
        }
        return cls(**given, allowed_batch_sizes=tuple(message.allowed_batch_sizes))


@dataclass(frozen=True)
class _Task:
    inputs: Arrays
    rows: int
    submitted_s: float
    result: Future[Arrays] = field(default_factory=Future)

    def fits(self, other: _Task) -> bool:
        """Whether both can be in one batch: the shapes differ in the number of examples only."""
        return all(
            array.shape[1:] == other.inputs[name].shape[1:] for name, array in self.inputs.items()
        )


class Batching:
    """Batches requests for the same signature of the same version."""

    def __init__(self, parameters: BatchingParameters):
        self._parameters: Final = parameters
        self._changed = threading.Condition()  # guards the three below
        self._queues: dict[Signature, deque[_Task]] = {}
        self._rows: dict[Signature, int] = {}  # in each queue
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._work, name=f"batch {number}", daemon=True)
            for number in range(parameters.num_batch_threads)
        ]
        for thread in self._threads:
            thread.start()

    def check(self, inputs: Arrays) -> None:
        """Checks a whole request.

        Raises:
          InvalidRequestError: the inputs have no common batch dimension, or too many examples.
        """
        rows, largest = _rows(inputs), self._parameters.max_batch_size
        if rows > largest:
            raise InvalidRequestError(
                f"Task size {rows} is larger than maximum input batch size {largest}"
            )

    def submit(self, signature: Signature, inputs: Arrays) -> Future[Arrays]:
        """Schedules a request.

        Raises:
          InvalidRequestError: as `check`.
          OverloadedError: too many requests are waiting.
        """
        self.check(inputs)
        rows, largest = _rows(inputs), self._parameters.max_batch_size
        task = _Task(inputs, rows, time.monotonic())
        with self._changed:
            waiting = self._rows.get(signature, 0)
            if waiting + rows > self._parameters.max_enqueued_batches * largest:
                raise OverloadedError(
                    "The batch scheduling queue to which this task was submitted is full"
                )
            self._queues.setdefault(signature, deque()).append(task)
            self._rows[signature] = waiting + rows
            self._changed.notify()
        return task.result

    def stop(self) -> None:
        """Runs everything that was submitted, then stops."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (ready := self._ready()):
                    if self._stopped:
                        return
                    self._changed.wait(self._pause_s())
                tasks = self._take(ready)
            # Leave out requests that were cancelled while they waited.
            tasks = [task for task in tasks if task.result.set_running_or_notify_cancel()]
            if tasks:
                self._run(ready, tasks)

    def _ready(self) -> Signature | None:
        """Of the signatures with a batch to run, the one whose oldest request waits longest."""
        timeout_s = self._parameters.batch_timeout_micros / 1e6
        now_s = time.monotonic()
        ready = [
            (queue[0].submitted_s, signature)
            for signature, queue in self._queues.items()
            if self._stopped
            or self._rows[signature] >= self._parameters.max_batch_size
            or now_s - queue[0].submitted_s >= timeout_s
        ]
        return min(ready, key=lambda pair: pair[0])[1] if ready else None

    def _pause_s(self) -> float | None:
        """The time until the next batch is due, in s; None if nothing waits."""
        oldest = [queue[0].submitted_s for queue in self._queues.values()]
        if not oldest:
            return None
        due_s = min(oldest) + self._parameters.batch_timeout_micros / 1e6
        return max(0.0, due_s - time.monotonic())

    def _take(self, signature: Signature) -> list[_Task]:
        queue = self._queues[signature]
        taken = [queue.popleft()]
        rows = taken[0].rows
        largest = self._parameters.max_batch_size
        while queue and rows + queue[0].rows <= largest and queue[0].fits(taken[0]):
            rows += queue[0].rows
            taken.append(queue.popleft())
        self._rows[signature] -= rows
        if not queue:  # leave nothing behind of an unloaded version
            del self._queues[signature], self._rows[signature]
        else:
            self._changed.notify()
        return taken

    def _run(self, signature: Signature, tasks: list[_Task]) -> None:
        try:
            results = self._run_together(signature, tasks)
        except Exception as error:
            if len(tasks) == 1:
                tasks[0].result.set_exception(error)
                return
            # An error of one request, and its message, must not reach the others.
            for task in tasks:
                self._run(signature, [task])
            return
        for task, outputs in zip(tasks, results, strict=True):
            task.result.set_result(outputs)

    def _run_together(self, signature: Signature, tasks: list[_Task]) -> list[Arrays]:
        rows = sum(task.rows for task in tasks)
        padding = self._padded(rows) - rows if rows else 0
        merged = {
            name: _concatenated([task.inputs[name] for task in tasks], padding)
            for name in tasks[0].inputs
        }
        outputs = signature.run(merged)
        if len(tasks) == 1 and not padding:
            return [outputs]
        for name, array in outputs.items():
            if not array.ndim or len(array) != rows + padding:
                raise ServingError(
                    f"output {name} has the shape {list(array.shape)} for a batch of "
                    f"{rows + padding}; this model cannot be batched."
                )
        results: list[Arrays] = []
        first = 0
        for task in tasks:
            part = slice(first, first + task.rows)
            results.append({name: array[part] for name, array in outputs.items()})
            first += task.rows
        return results

    def _padded(self, rows: int) -> int:
        return next((size for size in self._parameters.allowed_batch_sizes if size >= rows), rows)


def _rows(inputs: Mapping[str, NDArray[Any]]) -> int:
    if not all(array.ndim for array in inputs.values()):
        raise InvalidRequestError("Batching Run() input tensors must have at least one dimension")
    sizes = {len(array) for array in inputs.values()}
    if len(sizes) != 1:
        raise InvalidRequestError("Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop()


def _concatenated(arrays: list[NDArray[Any]], padding: int) -> NDArray[Any]:
    merged = np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
    return np.concatenate([merged, np.repeat(merged[:1], padding, axis=0)]) if padding else merged
