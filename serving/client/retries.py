"""Deadlines and retries of calls, and waiting until a model is ready."""

from __future__ import annotations

import random
import time
from typing import Any, Final

import grpc

from serving.client import protocol
from serving.errors import (
    InvalidRequestError,
    ModelNotFoundError,
    NotSupportedError,
    PreconditionError,
    ServerUnavailableError,
    ServingError,
)

FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
_NOT_GRPC: Final = "Failed parsing HTTP/2"  # in gRPC's details
_LAST_TRY_S: Final = 0.02  # with less time left, another try would only hide the cause

_ERRORS: Final[dict[grpc.StatusCode, type[ServingError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.FAILED_PRECONDITION: PreconditionError,
    grpc.StatusCode.NOT_FOUND: ModelNotFoundError,
    grpc.StatusCode.UNIMPLEMENTED: NotSupportedError,
    grpc.StatusCode.UNAVAILABLE: ServerUnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: ServerUnavailableError,
}


class Tries:
    """The tries of one call within its deadline: UNAVAILABLE is retried."""

    def __init__(self, address: str, timeout_s: float):
        self._address = address
        self._timeout_s = timeout_s
        self._start_s = time.monotonic()
        self._pause_s = FIRST_PAUSE_S

    @property
    def elapsed_s(self) -> float:
        """Since the first try."""
        return time.monotonic() - self._start_s

    @property
    def left_s(self) -> float:
        """Until the deadline: the timeout of the next try."""
        return max(self._timeout_s - self.elapsed_s, 0.001)

    def pause_after(self, error: grpc.RpcError) -> float:
        """The pause before the next try, in s.

        Raises:
          ServingError: there is no next try.
        """
        if _NOT_GRPC in (error.details() or ""):
            raise ServerUnavailableError(
                f"the server at {self._address} does not speak gRPC; give its gRPC port instead of "
                "its REST port."
            ) from error
        if error.code() != grpc.StatusCode.UNAVAILABLE or self.left_s < _LAST_TRY_S:
            raise self._error(error) from error
        spread = random.uniform(0.5, 1.0)  # noqa: S311 - not a secret
        pause_s = min(self._pause_s * spread, self.left_s / 2)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        return pause_s

    def _error(self, error: grpc.RpcError) -> ServingError:
        kind = _ERRORS.get(error.code(), ServingError)
        status = f"{error.code().name}: {error.details()}"
        if kind is ServerUnavailableError:
            return kind(
                f"no answer from the model server at {self._address} within {self._timeout_s:g} s "
                f"({status})"
            )
        return kind(status)


class Readiness:
    """Waits for a version of a model; the last reported state becomes the error's reason.

    Args:
      address: the server's address, for the error.
      model: the model's name.
      version: the version to wait for; None for any.
      timeout_s: the maximum time to wait.
      fail_fast: whether to stop waiting when the version, or every version if none is given, has
        failed to load, although a server retries.
    """

    CALL_TIMEOUT_S: Final = 1.0

    def __init__(
        self,
        address: str,
        model: str,
        version: int | None,
        timeout_s: float,
        fail_fast: bool = False,
    ):
        self.request = protocol.GetModelStatusRequest()
        self.request.model_spec.name = model
        self._version = version
        self._title = model if version is None else f"version {version} of {model}"
        self._where = f"at {address} within {timeout_s:g} s"
        self._deadline_s = time.monotonic() + timeout_s
        self._fail_fast = fail_fast

    def ready(self, response: Any) -> int | None:
        """The newest available version; None while the version to wait for is not available.

        Args:
          response: a GetModelStatusResponse.

        Raises:
          ServerUnavailableError: the time is up, or a version failed to load.
        """
        statuses = response.model_version_status
        available = [status.version for status in statuses if status.state == protocol.AVAILABLE]
        if available and self._version in (None, *available):
            return int(max(available))
        awaited = [status for status in statuses if self._version in (None, status.version)]
        messages = [status.status.error_message for status in awaited]
        failed = "; ".join(message for message in messages if message)
        if self._fail_fast and messages and all(messages):
            raise ServerUnavailableError(f"{self._title} failed to load: {failed}")
        self._check(failed or "it is still loading")
        return None

    def not_answered(self, error: grpc.RpcError) -> None:
        """Records that the server did not answer.

        Raises:
          ServerUnavailableError: the time is up.
        """
        self._check(f"{error.code().name}: {error.details()}")

    def _check(self, reported: str) -> None:
        if time.monotonic() > self._deadline_s:
            raise ServerUnavailableError(f"{self._title} was not ready {self._where}: {reported}")
