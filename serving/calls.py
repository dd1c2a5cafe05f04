"""What the two clients have in common: the connection, deadlines and retries, errors, answers."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import numpy as np
from numpy.typing import NDArray
from tensorflow_serving.apis import get_model_status_pb2, predict_pb2

from serving import codec
from serving.errors import (
    InvalidRequestError,
    ModelNotFoundError,
    NotSupportedError,
    PreconditionError,
    ServerUnavailableError,
    ServingError,
)

CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", codec.MAX_MESSAGE_BYTES),
    # A server that is starting is looked for again soon.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
_LAST_TRY_S: Final = 0.02  # with less time left, another try would only hide the cause

_ERRORS: Final[dict[grpc.StatusCode, type[ServingError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.FAILED_PRECONDITION: PreconditionError,
    grpc.StatusCode.NOT_FOUND: ModelNotFoundError,
    grpc.StatusCode.UNIMPLEMENTED: NotSupportedError,
    grpc.StatusCode.UNAVAILABLE: ServerUnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: ServerUnavailableError,
}
_AVAILABLE: Final = get_model_status_pb2.ModelVersionStatus.AVAILABLE


@dataclass(frozen=True)
class Prediction:
    """One answer: `probabilities` is float32 [batch, 10], each row sums to 1."""

    probabilities: NDArray[np.float32]
    version: int
    latency_s: float
    """From the call to its answer, tries included."""

    @property
    def digits(self) -> NDArray[np.int64]:
        """The most probable class of each image, int64 [batch]."""
        digits: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return digits

    @classmethod
    def of(cls, response: predict_pb2.PredictResponse, latency_s: float) -> Prediction:
        """From the server's answer."""
        return cls(codec.probabilities(response), response.model_spec.version.value, latency_s)


@dataclass(frozen=True)
class Tls:
    """How a client connects to a server that speaks TLS.

    Args:
      ca: the PEM file of the authority that signed the server's certificate; None for the
        system's authorities.
      certificate: the client's own, where the server asks for one, with its `key`.
      key: the PEM file of the private key to `certificate`.
      server_name: the name in the server's certificate, if it is not the address's host.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Reads the files.

        Raises:
          ServingError: a file cannot be read.
        """
        try:
            ca, certificate, key = (
                file.read_bytes() if file else None
                for file in (self.ca, self.certificate, self.key)
            )
        except OSError as error:
            raise ServingError(f"a file for TLS cannot be read: {error}.") from error
        return grpc.ssl_channel_credentials(ca, key, certificate)

    def options(self) -> tuple[tuple[str, str], ...]:
        """The channel's further options."""
        if self.server_name is None:
            return ()
        return (("grpc.ssl_target_name_override", self.server_name),)


class Tries:
    """When a call that found no server is tried again, within its deadline."""

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
        """Until the deadline; the timeout of the next try."""
        return max(self._timeout_s - self.elapsed_s, 0.001)

    def pause_after(self, error: grpc.RpcError) -> float:
        """How long to wait until the next try, in s.

        Raises:
          ServingError: there is none.
        """
        if error.code() != grpc.StatusCode.UNAVAILABLE or self.left_s < _LAST_TRY_S:
            raise self._error(error) from error
        pause_s = min(self._pause_s * random.uniform(0.5, 1.0), self.left_s / 2)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        return pause_s

    def _error(self, error: grpc.RpcError) -> ServingError:
        kind = _ERRORS.get(error.code(), ServingError)
        said = f"{error.code().name}: {error.details()}"
        if kind is ServerUnavailableError:
            return kind(
                f"no answer from the model server at {self._address} within {self._timeout_s:g} s "
                f"({said})"
            )
        return kind(said)


class Readiness:
    """Waits for a version of a model; what was reported last becomes the error's reason.

    Args:
      address: the server's, for the error.
      model: the model's name.
      version: the version to wait for; any where it is None.
      timeout_s: how long to wait at most.
      fail_fast: whether to wait no longer once a version could not be loaded, although
        a server tries again.
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
        self.request = get_model_status_pb2.GetModelStatusRequest()
        self.request.model_spec.name = model
        self._version = version
        self._what = model if version is None else f"version {version} of {model}"
        self._where = f"at {address} within {timeout_s:g} s"
        self._deadline_s = time.monotonic() + timeout_s
        self._fail_fast = fail_fast

    def ready(self, response: get_model_status_pb2.GetModelStatusResponse) -> int | None:
        """The newest version that answers; None where what is waited for does not yet.

        Raises:
          ServerUnavailableError: the time is up, or one could not be loaded.
        """
        statuses = response.model_version_status
        available = [status.version for status in statuses if status.state == _AVAILABLE]
        if available and self._version in (None, *available):
            return int(max(available))
        failed = "; ".join(status.status.error_message for status in statuses if _failed(status))
        if failed and self._fail_fast:
            raise ServerUnavailableError(f"{self._what} could not be loaded: {failed}")
        self._check(failed or "it is still loading")
        return None

    def not_answered(self, error: grpc.RpcError) -> None:
        """Takes in that the server did not answer.

        Raises:
          ServerUnavailableError: the time is up.
        """
        self._check(f"{error.code().name}: {error.details()}")

    def _check(self, reported: str) -> None:
        if time.monotonic() > self._deadline_s:
            raise ServerUnavailableError(f"{self._what} was not ready {self._where}: {reported}")


def _failed(status: get_model_status_pb2.ModelVersionStatus) -> bool:
    return bool(status.status.error_message)


def predict_request(
    model: str, images: NDArray[np.generic], version: int | None, label: str | None
) -> predict_pb2.PredictRequest:
    """A request; `version` or `label` say which version is asked, the newest if neither does.

    Raises:
      InvalidRequestError: the images do not fit, or both are said.
    """
    if version is not None and label is not None:
        raise InvalidRequestError(f"version {version} and label {label} came: say one of them.")
    request = codec.predict_request(model, images)
    if version is not None:
        request.model_spec.version.value = version
    elif label is not None:
        request.model_spec.version_label = label
    return request
