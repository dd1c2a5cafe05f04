"""The section `beam`: its keys are Beam's options, and mistakes are rejected."""

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    SparkRunnerOptions,
    StandardOptions,
    WorkerOptions,
)

from pipeline.graph.beam import BEAM_OPTIONS
from pipeline.settings import beam_config, pipeline_config
from pipeline.settings.errors import ConfigError

FLINK = {"runner": "flink", "flink_master": "flink:8081", "environment_type": "LOOPBACK"}
SPARK = {
    "runner": "spark",
    "spark_master_url": "spark://s:7077",
    "environment_type": "DOCKER",
    "environment_config": "mnist-tfx:1",
}
DATAFLOW = {
    "runner": "dataflow",
    "project": "p",
    "region": "europe-west1",
    "temp_location": "gs://b/tmp",
    "sdk_container_image": "gcr.io/p/mnist-tfx:1",
    "max_num_workers": 4,
}


PAGE = Path(__file__).parents[3] / "docs/how-to/beam-runners.md"


def _load(values: Mapping[str, object]) -> pipeline_config.PipelineConfig:
    return pipeline_config.load(
        overrides=[f"beam.{key}={value!r}" for key, value in values.items()]
    )


@pytest.mark.parametrize(
    ("runner", "name"),
    [
        (beam_config.FlinkRunner, "FlinkRunner"),
        (beam_config.SparkRunner, "SparkRunner"),
        (beam_config.DataflowRunner, "DataflowRunner"),
    ],
)
def test_every_key_is_an_option_of_beam(runner: type[beam_config._Runner], name: str) -> None:
    assert name.upper() in (known.upper() for known in StandardOptions.KNOWN_RUNNER_NAMES)
    parser = argparse.ArgumentParser(conflict_handler="resolve")
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)
    known = {text for action in parser._actions for text in action.option_strings}
    assert {f"--{key}" for key in runner.model_fields if key != "runner"} <= known


def test_beam_reads_what_the_section_says() -> None:
    options = PipelineOptions(_load({**FLINK, "parallelism": 3}).beam.arguments())
    assert options.view_as(StandardOptions).runner == "FlinkRunner"
    assert options.view_as(FlinkRunnerOptions).flink_master == "flink:8081"
    assert options.view_as(FlinkRunnerOptions).parallelism == 3
    assert options.view_as(PortableOptions).environment_type == "LOOPBACK"
    options = PipelineOptions(_load(SPARK).beam.arguments())
    assert options.view_as(SparkRunnerOptions).spark_master_url == "spark://s:7077"
    assert options.view_as(PortableOptions).environment_config == "mnist-tfx:1"
    options = PipelineOptions(_load(DATAFLOW).beam.arguments())
    assert options.view_as(GoogleCloudOptions).region == "europe-west1"
    assert options.view_as(WorkerOptions).max_num_workers == 4


def test_without_the_section_jobs_run_in_the_process() -> None:
    beam_section = pipeline_config.load().beam
    assert (beam_section.arguments(), beam_section.variables()) == ([], {})
    with beam.Pipeline(argv=[*BEAM_OPTIONS]) as pipeline:
        _ = pipeline | beam.Create([1, 2]) | beam.Map(print)


def test_the_variable_chooses_the_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(beam_config.VARIABLE, json.dumps(["--runner=NoSuchRunner"]))
    pipeline = beam.Pipeline(argv=[*BEAM_OPTIONS])
    _ = pipeline | beam.Create([1])
    with pytest.raises(ValueError, match="Unexpected pipeline runner: NoSuchRunner"):
        pipeline.run()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"runner": "flnk"}, "beam.runner: 'flnk': expected"),
        ({"runner": "flink"}, "flink_master: "),
        ({**FLINK, "flink_master": "flink"}, "beam.flink_master: 'flink': "),
        ({**FLINK, "parallelism": 0}, "beam.parallelism: 0: the minimum is 1"),
        ({**FLINK, "environment_type": "PROCESS"}, "PROCESS needs environment_config"),
        ({**FLINK, "environment_config": "x"}, "LOOPBACK has no environment_config"),
        ({**FLINK, "spark_version": "3"}, "beam.spark_version: unknown key"),
        ({**SPARK, "spark_master_url": "s:7077"}, "beam.spark_master_url: 's:7077': "),
        ({**DATAFLOW, "temp_location": "/tmp"}, "beam.temp_location: '/tmp': "),
    ],
)
def test_a_mistake_names_its_key(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(values)
    assert message in str(caught.value), str(caught.value)


def test_the_configurations_on_the_page_about_runners_are_valid(tmp_path: Path) -> None:
    runners: list[str] = []
    for text in re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        file = tmp_path / f"{len(runners)}.toml"
        file.write_text(text)
        runners.append(pipeline_config.load(file).beam.runner)
    assert runners == ["flink", "spark", "dataflow", "flink"]
