"""The log of a run: TFX's dumps are left out, and nothing else."""

import logging

import numpy as np
import pytest

from pipeline.runs import run_log

FALLBACK = "Fallback to non-ZetaSQL contexts execution query due to: %s"


@pytest.mark.parametrize(
    ("message", "arguments", "expected"),
    [
        ("Running launcher for %s", ("a node",), False),
        ("Component %s is running.", ("Trainer",), True),
        ("the text of a component: Running launcher for %s", ("x",), True),
        (FALLBACK, ("filter_query is not supported - ZetaSQL dependency removed",), False),
        (FALLBACK, ("database is locked",), True),
        (np.zeros(2), (), True),
    ],
)
def test_a_message_is_in_the_log(
    message: object, arguments: tuple[object, ...], expected: bool
) -> None:
    record = logging.LogRecord("absl", logging.INFO, "", 0, message, arguments, None)
    assert run_log.is_wanted(record) is expected
