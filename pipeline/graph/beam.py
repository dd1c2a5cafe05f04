"""The Beam options of every run. They are part of TFX's cache key, and therefore constant.

Where a job runs does not change what it produces, so the runner is not one of them:
`ConfiguredRunner` reads it from the environment.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from typing import Any, Final

import grpc
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
)
from apache_beam.runners import create_runner
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.runner import PipelineRunner

from pipeline.settings.beam_config import VARIABLE
from pipeline.settings.errors import ClusterError

RUNNER: Final = "apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"
"""Beam 2.77's default runner first tries to download another one, Prism."""

BEAM_OPTIONS: Final = (
    f"--runner={__name__}.ConfiguredRunner",
    # FnApiRunner starts no container. Without the option, TFX makes a package of its own source for
    # each component (0.8 s, 45 MB of temporary files), which that runner does not use either.
    "--sdk_container_image=unused",
)


_TRACEBACK: Final = "Traceback (most recent call last)"
_FAILED: Final = re.compile(r"Pipeline \S+ failed in state FAILED: ")


class ConfiguredRunner(PipelineRunner):  # type: ignore[misc]
    """Runs a job with the options in the variable `VARIABLE`; without it, in this process."""

    def run_pipeline(self, pipeline: Any, options: Any) -> Any:
        """Runs the job to its end; Beam calls this.

        Raises:
          ClusterError: the job server does not answer, or Flink or Spark failed the job.
        """
        arguments = json.loads(os.environ.get(VARIABLE, "[]"))
        if not arguments:
            return FnApiRunner().run_pipeline(pipeline, options)
        options = PipelineOptions(arguments)
        name = options.view_as(StandardOptions).runner
        job_server = options.view_as(PortableOptions).job_endpoint
        try:
            result = create_runner(name).run_pipeline(pipeline, options)
            result.wait_until_finish()
        except grpc.FutureTimeoutError as error:
            raise ClusterError(
                f"the job server at {job_server} does not answer; start it, or correct "
                "beam.job_endpoint."
            ) from error
        except grpc.RpcError as error:
            reason = error.details() if isinstance(error, grpc.Call) else str(error)
            raise ClusterError(
                f"the connection to the job server at {job_server} ended: {reason}"
            ) from error
        except RuntimeError as error:
            reason = failure_reason(str(error))
            if "ConnectException" in reason:
                reason += _addresses(options)
            raise ClusterError(f"{name} failed the job: {reason}") from error
        return result

    def is_fnapi_compatible(self) -> bool:
        """All runners of `beam_config` are."""
        return True


def _addresses(options: PipelineOptions) -> str:
    """What the runner connects to, as a question; Java's exceptions do not name it."""
    flink = options.view_as(FlinkRunnerOptions).flink_master
    pool = options.view_as(PortableOptions).environment_config
    return f". Does Flink run at {flink}, and a worker pool at {pool} beside each TaskManager?"


def failure_reason(text: str) -> str:
    """The reason in the message of a failed job.

    Args:
      text: Beam's message: the trace of a Java exception, which can contain one of Python.

    Returns:
      The last exception of Python, if there is one; else the first line.
    """
    _, found, trace = _FAILED.sub("", text).rpartition(_TRACEBACK)
    if not found:
        return trace.partition("\n")[0].strip() or "no reason was given; see the runner's log"
    after_frames = itertools.dropwhile(lambda line: line[:1].isspace(), trace.splitlines()[1:])
    lines = itertools.takewhile(lambda line: not line.startswith("\tat "), after_frames)
    return "\n".join(lines).strip()
