"""The Beam options of every run. They are part of TFX's cache key, and therefore constant.

Where a job runs does not change what it produces, so the runner is not one of them:
`ConfiguredRunner` reads it from the environment.
"""

from __future__ import annotations

import json
import os
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


class ConfiguredRunner(PipelineRunner):  # type: ignore[misc]
    """Runs a job with the options in the variable `VARIABLE`; without it, in this process."""

    def run_pipeline(self, pipeline: Any, options: Any) -> Any:
        """Runs the job; Beam calls this."""
        arguments = json.loads(os.environ.get(VARIABLE, "[]"))
        if not arguments:
            return FnApiRunner().run_pipeline(pipeline, options)
        options = PipelineOptions(arguments)
        runner = create_runner(options.view_as(StandardOptions).runner)
        try:
            return runner.run_pipeline(pipeline, options)
        except grpc.FutureTimeoutError as error:
            address = options.view_as(PortableOptions).job_endpoint
            raise ClusterError(
                f"the job server at {address} does not answer; start it, or correct "
                "beam.job_endpoint."
            ) from error

    def is_fnapi_compatible(self) -> bool:
        """All runners of `beam_config` are."""
        return True
