"""The log of a process that runs components, on this machine or in a task of Kubeflow."""

from __future__ import annotations

import logging
from typing import Final

_LEFT_OUT: Final = (
    # Whole protocol buffers, hundreds of lines for each component. ML Metadata has their content.
    "Running launcher for %s",
    "Going to run a new execution: %s",
    "[%s] Resolved inputs: %s",
    "Publishing output artifacts %s for execution %s",
    "Using deployment config:\n %s",
    "Feature %s has a shape %s. Setting to DenseTensor.",
    # One line for each query of ML Metadata.
    "MetadataStore with DB connection initialized",
    "ArtifactQuery.property_predicate is not supported.",
    "Fallback to non-ZetaSQL contexts execution query due to: %s",
)
"""The formats of messages that say nothing to a reader of the log."""


def configure() -> None:
    """Logs to the standard error, each line with its time; leaves out TFX's dumps."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", force=True)
    logging.getLogger("absl").addFilter(is_wanted)  # TFX's, ML Metadata's and TFDV's


def is_wanted(record: logging.LogRecord) -> bool:
    """Whether a record of TFX belongs in the log."""
    return record.msg not in _LEFT_OUT
