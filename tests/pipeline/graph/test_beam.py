"""The reason in the message of a failed Beam job. The messages are those of a real Flink."""

import pytest

from pipeline.graph.beam import failure_reason

JOB = "Pipeline BeamApp-root-1126_07ab7e0e-4a23-42e0-aa78-9a74e4bb2a1a failed in state FAILED: "
IN_PYTHON = f"""{JOB}java.lang.RuntimeException: Error received from SDK harness: \
Traceback (most recent call last):
  File "apache_beam/runners/common.py", line 1512, in apache_beam.runners.common.DoFnRunner.process
  File "digits.py", line 5, in <lambda>
                                                        ~~^~~~~~~~~
ZeroDivisionError: division by zero

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "digits.py", line 5, in <lambda>
    beam.Map(lambda x: 1 / x)
                       ~~^~~
ZeroDivisionError: division
by zero [while running 'Map(<lambda at digits.py:5>)']
"""


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (IN_PYTHON, "ZeroDivisionError: division by zero"),
        (
            f"{JOB}java.io.IOException: Insufficient number of network buffers\n\tat Task.run",
            "java.io.IOException: Insufficient number of network buffers",
        ),
        ("Pipeline failed.", "Pipeline failed."),
        ("", ""),
    ],
)
def test_the_reason_is_one_line(message: str, reason: str) -> None:
    assert failure_reason(message) == reason
