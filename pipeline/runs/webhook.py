"""Tells a web service how a run ended: one JSON object, sent with POST.

Runs on this machine and on Kubeflow send the same.

The address is in the environment variable VARIABLE, since such addresses often contain a secret. It
is never printed. Standard library and pydantic only.
"""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from pipeline.runs.run_record import RunRecord

VARIABLE: Final = "MNIST_TFX_WEBHOOK"
TOLD: Final = ("pushed", "rejected", "failed")
"""The results that a notice is sent about; a cached push changes nothing."""

_TRIES: Final = 3
_TIMEOUT_S: Final = 5.0
_PAUSE_S: Final = 1.0


class Notice(BaseModel):
    """What is sent; unknown values are null."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    """Raised with a change that a receiver would read wrongly."""

    pipeline: str
    run_id: str
    result: str
    """One of TOLD."""

    exit_code: int
    message: str
    """One sentence; empty if the model was pushed."""

    rejections: tuple[str, ...]
    accuracy: float | None
    accuracy_change: float | None
    """Candidate minus champion."""

    version: int | None
    """The version that was pushed."""

    report: str | None
    """The path of the report."""

    seconds: float


def notice_of(record: RunRecord) -> Notice | None:
    """The notice about a run that ended; None if none is to be sent."""
    if record.exit_code is None or record.result not in TOLD:
        return None
    outcome = record.outcome
    return Notice(
        pipeline=record.pipeline,
        run_id=record.run_id,
        result=record.result,
        exit_code=record.exit_code,
        message=record.message,
        rejections=record.rejections,
        accuracy=outcome.accuracy if outcome else None,
        accuracy_change=outcome.accuracy_change if outcome else None,
        version=int(Path(outcome.pushed).name) if outcome and outcome.pushed else None,
        report=outcome.report if outcome else None,
        seconds=record.seconds,
    )


def send(notice: Notice | None, environment: Mapping[str, str] = os.environ) -> str:
    """Sends a notice, if VARIABLE is set.

    Returns:
      Why it could not be sent, in one sentence; empty if it was sent, or if there is none.
    """
    url = environment.get(VARIABLE, "")
    if not url or notice is None:
        return ""
    if not url.startswith(("https://", "http://")):
        return f"the notice was not sent: {VARIABLE} is not an https or http URL."
    reason = ""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSE_S)
        try:
            reason = _post(url, notice.model_dump_json().encode())
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", None) or type(error).__name__)
        if not reason:
            return ""
    return f"the notice was not sent: the service in {VARIABLE} did not accept it ({reason})."


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: the notice would be lost, because the new request has no body."""

    def redirect_request(self, *_: object) -> None:
        """Follows none."""


def _post(url: str, content: bytes) -> str:
    """The reason of a rejection; empty if the service accepted."""
    headers = {"Content-Type": "application/json", "User-Agent": "mnist-tfx"}
    request = urllib.request.Request(url, content, headers)  # noqa: S310 - the scheme was checked
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=_TIMEOUT_S):
            return ""
    except urllib.error.HTTPError as error:
        return f"status {error.code}"
