"""The errors that a user can act on: one sentence each, and an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of every command."""

    OK = 0
    """Success: for a run, the model was pushed, or its push was cached."""

    FAILED = 1
    """The data is not available, a component failed, or a server did not answer or rejected."""

    USAGE = 2
    """A mistake in the command or in the configuration."""

    REJECTED = 3
    """A gate rejected: the data has anomalies, the model misses a threshold, a model server answers
    differently or too slowly, or the model was rolled back."""

    INTERRUPTED = 130


class PipelineError(Exception):
    """Something failed; the message is a sentence for the user."""

    exit_code = ExitCode.FAILED


class ConfigError(PipelineError):
    """A mistake in the configuration: the file, the key, the value, and what was expected."""

    exit_code = ExitCode.USAGE


class DataError(PipelineError):
    """The IDX files are missing or damaged, or are not the data set that the name says."""


class ClusterError(PipelineError):
    """Kubeflow or a Beam runner cannot be reached, rejected a request, or failed a job."""


class WorkspaceBusyError(PipelineError):
    """Another run is using the workspace."""


class RejectedError(PipelineError):
    """A gate rejected.

    Args:
      consequence: what does not happen.
      reasons: why, one sentence each.
    """

    exit_code = ExitCode.REJECTED

    # Beam creates the exception again from its arguments, with a longer message.
    def __init__(self, consequence: str, reasons: Sequence[str]):
        super().__init__(consequence, reasons)
        self.reasons = tuple(reasons)

    def __str__(self) -> str:
        return f"{self.args[0]}: {'; '.join(self.reasons)}"
