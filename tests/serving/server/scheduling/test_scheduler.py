"""The scheduler that does not batch."""

import os
import threading
import weakref
from typing import Any

import numpy as np

from serving.server.models.saved_model import Arrays
from serving.server.scheduling.scheduler import Unbatched


def test_a_request_that_was_cancelled_keeps_no_inputs() -> None:
    """It waits behind others that are running."""
    may_end = threading.Event()

    class Slow:
        """Stands for a signature."""

        def run(self, inputs: Arrays) -> Arrays:
            may_end.wait(60)
            return inputs

    slow: Any = Slow()
    scheduler = Unbatched()
    for _ in range(2 * (os.cpu_count() or 1)):
        scheduler.submit(slow, {})
    array = np.zeros(10)
    alive = weakref.ref(array)
    waiting = scheduler.submit(slow, {"x": array})
    del array
    assert alive() is not None
    assert waiting.cancel()
    assert alive() is None
    may_end.set()
    scheduler.stop()
