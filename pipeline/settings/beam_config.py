"""The section `beam`: where the Beam jobs of the components run.

The keys are Beam's options, under Beam's names: https://beam.apache.org/documentation/runners/.
"""

from __future__ import annotations

import json
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from pipeline.settings.toml_settings import Section, matching

VARIABLE: Final = "MNIST_TFX_BEAM_OPTIONS"
"""The environment variable that gives a component's process the options, as a list in JSON."""

_ADDRESS: Final = r"[^\s/:]+:\d{1,5}"
Endpoint = Annotated[str, matching(_ADDRESS, "HOST:PORT")]
Bucket = Annotated[str, matching(r"gs://[^\s/]+(/\S*)?", "gs://bucket/path")]
Count = Annotated[int, Field(ge=1)]


class _Runner(Section):
    """What the runners have in common."""

    BEAM_NAME: ClassVar[str] = ""

    def arguments(self) -> list[str]:
        """The options as Beam's command line has them; empty if the job runs in the process."""
        if not self.BEAM_NAME:
            return []
        given = self.model_dump(exclude={"runner"}, exclude_none=True)
        return [f"--runner={self.BEAM_NAME}", *(f"--{key}={value}" for key, value in given.items())]

    def variables(self) -> dict[str, str]:
        """The environment variable for the processes of the components."""
        arguments = self.arguments()
        return {VARIABLE: json.dumps(arguments)} if arguments else {}


class InProcessRunner(_Runner):
    """Beam's FnApiRunner in the process of each component."""

    runner: Literal["in_process"] = "in_process"


class _PortableRunner(_Runner):
    """A runner that gets its jobs from Beam's job server."""

    job_endpoint: Endpoint | None = None
    """HOST:PORT of a job server that is running; without it, Beam starts one with Java."""

    artifact_endpoint: Endpoint | None = None
    """HOST:PORT of the job server's artifact service, if it differs."""

    job_server_timeout: Count = 60
    """The longest wait for the job server, in seconds."""

    environment_type: Literal["DOCKER", "PROCESS", "EXTERNAL", "LOOPBACK"]
    """How the runner starts Python workers; LOOPBACK: in the process of the component."""

    environment_config: str | None = None
    """DOCKER: an image; PROCESS: a command in JSON; EXTERNAL: HOST:PORT of a worker pool."""

    environment_cache_millis: Annotated[int, Field(ge=0)] = 60_000
    """How long a worker waits for the next stage of its job, in milliseconds.

    With 0, Beam's default, each stage starts Python and TensorFlow again.
    """

    @model_validator(mode="after")
    def _check_environment(self) -> Self:
        if self.environment_type in ("PROCESS", "EXTERNAL") and not self.environment_config:
            raise ValueError(f"environment_type {self.environment_type} needs environment_config")
        if self.environment_type == "LOOPBACK" and self.environment_config:
            raise ValueError("environment_type LOOPBACK has no environment_config")
        return self


class FlinkRunner(_PortableRunner):
    """Apache Flink."""

    BEAM_NAME: ClassVar[str] = "FlinkRunner"
    runner: Literal["flink"]
    flink_master: Annotated[
        str, matching(rf"\[local\]|\[auto\]|{_ADDRESS}", "HOST:PORT, [local] or [auto]")
    ]
    """HOST:PORT of the JobManager's REST service, [local] or [auto]."""

    flink_version: str | None = None
    flink_job_server_jar: str | None = None
    parallelism: Count | None = None


class SparkRunner(_PortableRunner):
    """Apache Spark."""

    BEAM_NAME: ClassVar[str] = "SparkRunner"
    runner: Literal["spark"]
    spark_master_url: Annotated[
        str, matching(r"spark://\S+|local(\[[\d*]+\])?", "spark://HOST:PORT or local[N]")
    ]
    spark_version: str | None = None
    spark_job_server_jar: str | None = None


class DataflowRunner(_Runner):
    """Google Cloud Dataflow."""

    BEAM_NAME: ClassVar[str] = "DataflowRunner"
    runner: Literal["dataflow"]
    project: Annotated[str, Field(min_length=1)]
    region: Annotated[str, Field(min_length=1)]
    temp_location: Bucket
    staging_location: Bucket | None = None
    sdk_container_image: Annotated[str, Field(min_length=1)]
    """The image of the workers: that of the pipeline, with Beam's boot program as entry point."""

    num_workers: Count | None = None
    max_num_workers: Count | None = None
    worker_machine_type: str | None = None
    service_account_email: str | None = None
    subnetwork: str | None = None


BeamConfig = Annotated[
    InProcessRunner | FlinkRunner | SparkRunner | DataflowRunner, Field(discriminator="runner")
]
