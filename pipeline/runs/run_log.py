"""The log of a process that runs components, on this machine or in a task of Kubeflow."""

from __future__ import annotations

import logging
from typing import Final

_LEFT_OUT: Final = (
    # Whole protocol buffers, hundreds of lines for each component. ML Metadata has what a run used
    # and made, and the pipeline is in the code.
    "Running launcher for %s",
    "Going to run a new execution: %s",
    "[%s] Resolved inputs: %s",
    "Publishing output artifacts %s for execution %s",
    "Using deployment config:\n %s",
    "Using connection config:\n %s",
    "Feature %s has a shape %s. Setting to DenseTensor.",
    # Several lines for each component, always the same.
    "MetadataStore with DB connection initialized",
    "ArtifactQuery.property_predicate is not supported.",
)
"""The formats of messages that say nothing to a reader of the log."""

# ML Metadata 1.21 cannot filter; any other reason is of interest.
_FALLBACK: Final = "Fallback to non-ZetaSQL contexts execution query due to: %s"
_NO_FILTER: Final = "filter_query is not supported"


def configure() -> None:
    """Logs to the standard error, each line with its time; leaves out TFX's dumps."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", force=True)
    logging.getLogger("absl").addFilter(is_wanted)  # TFX's, ML Metadata's and TFDV's


def is_wanted(record: logging.LogRecord) -> bool:
    """Whether a record of TFX belongs in the log."""
    if not isinstance(record.msg, str):
        return True
    if record.msg == _FALLBACK:
        return _NO_FILTER not in record.getMessage()
    return record.msg not in _LEFT_OUT
