"""The interface of a scheduler, and the one that does not batch."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from serving.server.models.saved_model import Arrays, Signature


class Scheduler(Protocol):
    """Accepts requests, and runs each in a thread of its own."""

    def check(self, inputs: Arrays) -> None:
        """Checks a whole request, before it is cut into slices.

        Raises:
          ServingError: the request is rejected.
        """
        ...

    def submit(self, signature: Signature, inputs: Arrays) -> Future[Arrays]:
        """Schedules a request, or a slice of one. A future that is cancelled in time never runs.

        Raises:
          ServingError: the request is rejected.
        """
        ...

    def stop(self) -> None:
        """Runs everything that was submitted, then stops."""
        ...


class Unbatched:
    """Runs each request by itself, as soon as a thread is free.

    It has more threads than the machine has cores: TensorFlow's threads compute, these wait.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(2 * (os.cpu_count() or 1), "run")

    def check(self, inputs: Arrays) -> None:
        """Accepts every request."""

    def submit(self, signature: Signature, inputs: Arrays) -> Future[Arrays]:
        """Schedules a request."""
        held = [inputs]
        future: Future[Arrays] = self._threads.submit(lambda: signature.run(held[0]))
        # The executor keeps a future that was cancelled until its turn, but not its inputs.
        future.add_done_callback(lambda _: held.clear())
        return future

    def stop(self) -> None:
        """Runs everything that was submitted, then stops."""
        self._threads.shutdown()
