"""Who runs a request on the model, and when."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from numpy.typing import NDArray

from serving.server.saved_model import Arrays, Signature

Outputs = Mapping[str, NDArray[Any]]


class Scheduler(Protocol):
    """Takes requests, and runs each at some time in a thread of its own."""

    def submit(self, signature: Signature, inputs: Arrays) -> Future[Outputs]:
        """Asks for one request to be run; a future that is cancelled in time never is.

        Raises:
          ServingError: the request is refused.
        """
        ...

    def stop(self) -> None:
        """Runs what was submitted, and no more."""
        ...


class OneByOne:
    """Runs each request by itself, as soon as a thread is free.

    More threads than cores: TensorFlow's own threads do the work, and these wait for them.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(2 * (os.cpu_count() or 1), "run")

    def submit(self, signature: Signature, inputs: Arrays) -> Future[Outputs]:
        """Asks for one request to be run."""
        return self._threads.submit(signature.run, inputs)

    def stop(self) -> None:
        """Runs what was submitted, and no more."""
        self._threads.shutdown()
