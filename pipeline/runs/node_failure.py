"""The exception of a node, as a message and refusals. For the processes that run nodes."""

from __future__ import annotations

from typing import Final, NamedTuple

from ml_metadata import errors as mlmd_errors

from components.anomaly_gate import AnomaliesFoundError
from pipeline.settings.errors import RefusedError

_LONGEST: Final = 1000  # characters of a message


class NodeFailure(NamedTuple):
    """Why a node failed."""

    message: str
    """In one line."""

    refusals: tuple[str, ...]
    """One by one, if a gate refused; else empty."""


def describe(error: Exception) -> NodeFailure:
    """The failure that an exception stands for."""
    refusals: tuple[object, ...] = ()
    if isinstance(error, AnomaliesFoundError):
        refusals = error.anomalies
    elif isinstance(error, RefusedError):
        refusals = error.reasons
    return NodeFailure(one_line(error), tuple(map(str, refusals)))


def one_line(error: Exception) -> str:
    """The error in one line, without Beam's additions."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = text.partition(" [while running")[0]
    if isinstance(error, mlmd_errors.StatusError):
        text = f"metadata store: {text}"
    return text if len(text) < _LONGEST else f"{text[:_LONGEST]}..."
