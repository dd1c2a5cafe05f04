"""The exception of a node, as a message and rejections. For the processes that run nodes."""

from __future__ import annotations

from typing import Final, NamedTuple

from ml_metadata import errors as mlmd_errors

from components.anomaly_gate import AnomaliesFoundError
from pipeline.settings.errors import RejectedError

_LONGEST: Final = 1000  # characters of a message


class NodeFailure(NamedTuple):
    """Why a node failed."""

    message: str
    """In one line."""

    rejections: tuple[str, ...]
    """One by one, if a gate rejected; else empty."""


def describe(error: Exception) -> NodeFailure:
    """The failure that an exception stands for."""
    rejections: tuple[object, ...] = ()
    if isinstance(error, AnomaliesFoundError):
        rejections = error.anomalies
    elif isinstance(error, RejectedError):
        rejections = error.reasons
    return NodeFailure(one_line(error), tuple(map(str, rejections)))


def one_line(error: Exception) -> str:
    """The error in one line, without Beam's additions."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = text.partition(" [while running")[0]
    if isinstance(error, mlmd_errors.StatusError):
        text = f"metadata store: {text}"
    return text if len(text) < _LONGEST else f"{text[:_LONGEST]}..."
