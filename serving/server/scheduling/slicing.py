"""Runs a large request in slices, so that it does not hold up others.

Slices of different requests interleave. Once a request is cancelled, or its deadline has passed,
no further slice of it runs.
"""

from __future__ import annotations

import asyncio

import numpy as np

from serving.server.models.saved_model import Arrays, Signature
from serving.server.scheduling.scheduler import Scheduler


async def run_in_slices(
    scheduler: Scheduler, signature: Signature, inputs: Arrays, rows_in_slice: int
) -> Arrays:
    """The outputs of a signature for inputs that its `check` accepted.

    Args:
      scheduler: runs each slice.
      signature: the signature to run.
      inputs: the inputs, by name.
      rows_in_slice: the maximum number of examples in a slice; 0 for no slices. Inputs of
        different length, and a signature that is not `is_sliceable`, run as a whole.

    Raises:
      ServingError: the request is rejected, or the model failed.
    """
    scheduler.check(inputs)
    sizes = {len(array) if array.ndim else 0 for array in inputs.values()}
    rows = max(sizes, default=0)
    can_slice = signature.is_sliceable and len(sizes) == 1
    if not rows_in_slice or rows <= rows_in_slice or not can_slice:
        return await asyncio.wrap_future(scheduler.submit(signature, inputs))
    parts: list[Arrays] = []
    for first in range(0, rows, rows_in_slice):
        part = {name: array[first : first + rows_in_slice] for name, array in inputs.items()}
        # Cancelling the request cancels this future, and ends the loop.
        parts.append(await asyncio.wrap_future(scheduler.submit(signature, part)))
        size = min(rows_in_slice, rows - first)
        if any(len(array) != size for array in parts[-1].values()):
            # The outputs are not one row for each example: they cannot be joined.
            return await asyncio.wrap_future(scheduler.submit(signature, inputs))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
