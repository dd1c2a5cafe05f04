"""The exception of a node, as a message and rejections. For the processes that run nodes."""

from __future__ import annotations

from typing import Final, NamedTuple

from ml_metadata import errors as mlmd_errors

from components.anomaly_gate import AnomaliesFoundError
from pipeline.settings.errors import RejectedError

_LONGEST: Final = 1000  # characters of a message
# Messages of Python, C++ and TensorFlow when an allocation fails, also that of a thread's stack.
_NO_MEMORY: Final = (
    "can't start new thread",
    "std::bad_alloc",
    "Cannot allocate memory",
    "OOM when",
)


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
    text = text if len(text) < _LONGEST else f"{text[:_LONGEST]}..."
    is_out_of_memory = isinstance(error, MemoryError) or any(sign in text for sign in _NO_MEMORY)
    return f"{text} (probably too little memory)" if is_out_of_memory else text
