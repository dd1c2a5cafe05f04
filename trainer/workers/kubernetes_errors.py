"""What Kubernetes answers to a request that failed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Final

import urllib3
from kubernetes import client

from trainer.workers.failures import WorkerError

ERRORS: Final = (client.ApiException, urllib3.exceptions.HTTPError)
"""The exceptions of a request."""

DENIED: Final = (401, 403)
"""The HTTP statuses of a refused request: without permission, or above a quota."""


@contextlib.contextmanager
def explained(problem: str) -> Iterator[None]:
    """Raises WorkerError if Kubernetes answers with an error."""
    try:
        yield
    except ERRORS as error:
        reason = reason_of(error)
        denied = status_of(error) == 403 and "cannot" in reason  # not a quota, which is 403 as well
        cure = " Apply pipeline/deploy/training." if denied else ""
        raise WorkerError(f"Kubernetes {problem}: {reason.rstrip('.')}.{cure}") from error


def status_of(error: Exception) -> int | None:
    """The HTTP status of an answer; None if no answer came."""
    return getattr(error, "status", None)


def reason_of(error: Exception) -> str:
    """What Kubernetes says, in one line."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return str(json.loads(getattr(error, "body", ""))["message"])
    return str(getattr(error, "reason", None) or error)
