"""The errors that a user can do something about: one sentence each, and an exit code."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command's exit code says."""

    OK = 0
    """A model was pushed, or everything was cached."""

    FAILED = 1
    """The data could not be had, a component raised, or a server did not answer or refused."""

    USAGE = 2
    """A mistake in the command or in the configuration."""

    REFUSED = 3
    """A gate said no: the data has anomalies, the model misses a threshold, a server does not
    answer as it does or not in time, or it was rolled back."""

    INTERRUPTED = 130


class PipelineError(Exception):
    """Something did not work out; the message is a sentence for the user."""

    exit_code = ExitCode.FAILED


class ConfigError(PipelineError):
    """A mistake in the configuration: the file, the key, what came, what was expected."""

    exit_code = ExitCode.USAGE


class DataError(PipelineError):
    """The IDX files are missing, damaged, or not the data set that they are said to be."""


class ClusterError(PipelineError):
    """Kubeflow Pipelines cannot be reached, or refuses; what came, and what to do."""


class WorkspaceBusyError(PipelineError):
    """Another run is using the workspace."""
