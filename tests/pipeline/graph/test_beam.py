"""What a component says of a failed Beam job. The messages are those of a real Flink."""

import json

import apache_beam as beam
import grpc
import pytest
from apache_beam.testing.util import assert_that, equal_to

from pipeline.graph import beam as graph_beam
from pipeline.graph.beam import BEAM_OPTIONS, failure_reason
from pipeline.runs import node_failure
from pipeline.settings.beam_config import VARIABLE
from pipeline.settings.errors import ClusterError

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


FLINK = [
    "--runner=FlinkRunner",
    "--flink_master=flink:8081",
    "--job_endpoint=server:8099",
    "--environment_type=EXTERNAL",
    "--environment_config=localhost:50000",
]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (IN_PYTHON, "ZeroDivisionError: division by zero"),
        (
            f"{JOB}java.io.IOException: Insufficient number of network buffers\n\tat Task.run",
            "java.io.IOException: Insufficient number of network buffers",
        ),
        (
            JOB.replace("FAILED", "CANCELLED") + "unknown error",
            JOB.replace("FAILED", "CANCELLED") + "unknown error",
        ),
        ("Pipeline failed.", "Pipeline failed."),
        (JOB, "no reason was given; see the runner's log"),
    ],
)
def test_the_reason_is_the_last_exception_or_the_first_line(message: str, reason: str) -> None:
    assert node_failure.one_line(Exception(failure_reason(message))) == reason


class Lost(grpc.RpcError, grpc.Call):  # type: ignore[misc]
    """What gRPC raises while it reads from a server that ends."""

    def details(self) -> str:
        return "Socket closed"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            RuntimeError(f"{JOB}java.net.ConnectException: Connection refused"),
            "FlinkRunner failed the job: java.net.ConnectException: Connection refused. Does Flink "
            "run at flink:8081, and a worker pool at localhost:50000 beside each TaskManager?",
        ),
        (Lost(), "the connection to the job server at server:8099 ended: Socket closed"),
        (
            grpc.FutureTimeoutError(),
            "the job server at server:8099 does not answer; start it, or correct "
            "beam.job_endpoint.",
        ),
    ],
)
def test_a_failed_job_is_one_sentence(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Runner:
        def run_pipeline(self, *_: object) -> object:
            raise error

    monkeypatch.setenv(VARIABLE, json.dumps(FLINK))
    monkeypatch.setattr(graph_beam, "create_runner", lambda _: Runner())
    with pytest.raises(ClusterError) as caught, beam.Pipeline(argv=[*BEAM_OPTIONS]) as pipeline:
        pipeline | beam.Create([1])
    assert str(caught.value) == message


def test_without_the_variable_the_job_runs_in_this_process() -> None:
    with beam.Pipeline(argv=[*BEAM_OPTIONS]) as pipeline:
        assert_that(pipeline | beam.Create([1, 2]), equal_to([1, 2]))
