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
_RUNNER_PREFIX: Final = re.compile(r"Pipeline \S+ failed in state \w+: ")


class ConfiguredRunner(PipelineRunner):  # type: ignore[misc]
    """Runs a job with the options in the variable `VARIABLE`; without it, in this process."""

    def run_pipeline(self, pipeline: Any, options: Any) -> Any:
        """Runs the job to its end; Beam calls this.

        Raises:
          ClusterError: the job server does not answer, or the job failed.
        """
        arguments = json.loads(os.environ.get(VARIABLE, "[]"))
        if not arguments:
            return FnApiRunner().run_pipeline(pipeline, options)
        options = PipelineOptions(arguments)
        name = options.view_as(StandardOptions).runner
        portable = options.view_as(PortableOptions)
        try:
            result = create_runner(name).run_pipeline(pipeline, options)
            result.wait_until_finish()
        except grpc.FutureTimeoutError as error:
            raise ClusterError(
                f"the job server at {portable.job_endpoint} does not answer; start it, or correct "
                "beam.job_endpoint."
            ) from error
        except RuntimeError as error:
            reason = failure_reason(str(error))
            if "ConnectException" in reason and portable.environment_type == "EXTERNAL":
                reason += (
                    f". Does a worker pool run at {portable.environment_config} for each machine "
                    "of the runner?"
                )
            raise ClusterError(f"{name} failed the job: {reason}") from error
        return result

    def is_fnapi_compatible(self) -> bool:
        """All runners of `beam_config` are."""
        return True


def failure_reason(text: str) -> str:
    """The reason in the message of a failed job.

    Args:
      text: Beam's message: the trace of a Java exception, which can contain one of Python.

    Returns:
      The last exception of Python, if there is one; else the first line.
    """
    _, found, trace = _RUNNER_PREFIX.sub("", text).rpartition(_TRACEBACK)
    if not found:
        return trace.partition("\n")[0].strip()
    after_frames = itertools.dropwhile(lambda line: line[:1].isspace(), trace.splitlines()[1:])
    lines = itertools.takewhile(lambda line: not line.startswith("\tat "), after_frames)
    return " ".join(lines).partition(" [while running")[0].strip()
