"""Limits the memory of the requests in progress.

gRPC accepts any number of requests on a connection, and each keeps its inputs until it is answered.
What still runs for a request that was cancelled is not counted: one slice for each thread.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Final

from serving.errors import OverloadedError
from serving.server import tensors
from serving.server.models.saved_model import Arrays

MAX_BYTES: Final = 256 * 2**20
_REQUEST_BYTES: Final = 32 * 2**10  # besides its inputs; 15 KiB were measured


class InputMemory:
    """The memory of the requests in progress and of their inputs. Thread-safe.

    Args:
      max_bytes: the maximum, in bytes.
    """

    def __init__(self, max_bytes: int = MAX_BYTES):
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._bytes = 0

    @contextlib.contextmanager
    def reserved(self, inputs: Arrays) -> Iterator[None]:
        """A context in which a request counts. A request that is alone is always accepted.

        Raises:
          OverloadedError: together with the other requests, it needs too much.
        """
        size = _REQUEST_BYTES + sum(map(tensors.bytes_in_memory, inputs.values()))
        with self._lock:
            if self._bytes and self._bytes + size > self._max_bytes:
                raise OverloadedError(
                    f"the requests in progress occupy {_mib(self._bytes)}; the maximum is "
                    f"{_mib(self._max_bytes)}. Send the request again later."
                )
            self._bytes += size
        try:
            yield
        finally:
            with self._lock:
                self._bytes -= size


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
