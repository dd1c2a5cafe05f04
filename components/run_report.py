"""RunReport: one HTML file about a run, for people to look at. See `components/report/`.

It comes after the Evaluator, and says what the data was, how the training went, what the
Evaluator found and why a model was refused, and what it all was made from.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import posixpath
from datetime import UTC, datetime
from typing import Any, Final

from tfx.components.example_gen import utils
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.standard_artifacts import (
    ExampleAnomalies,
    Examples,
    ExampleStatistics,
    Model,
    ModelBlessing,
    ModelEvaluation,
    ModelRun,
)
from tfx.utils import io_utils, path_utils

from components import anomaly_gate, evaluation_results, idx_example_gen, ingested
from components.report import data_facts, model_facts, run_page, training_facts
from components.report.run_facts import RunFacts

FILE: Final = "report.html"
REPORT: Final = "report"  # in the configuration, in the place of a limit
PACKAGES: Final = (
    "tfx",
    "tensorflow",
    "keras",
    "tensorflow-transform",
    "tensorflow-data-validation",
    "tensorflow-model-analysis",
    "ml-metadata",
    "apache-beam",
    "numpy",
    "scipy",
)


class Spec(ComponentSpec):  # type: ignore[misc]
    """What comes in, what comes out."""

    PARAMETERS = {  # noqa: RUF012
        "pipeline_name": ExecutionParameter(type=str),
        "configuration": ExecutionParameter(type=str),
        "code_digest": ExecutionParameter(type=str),
    }
    INPUTS = {  # noqa: RUF012
        "examples": ChannelParameter(type=Examples),
        "window": ChannelParameter(type=Examples),
        "reference": ChannelParameter(type=Examples),
        "statistics": ChannelParameter(type=ExampleStatistics),
        **{name: ChannelParameter(type=ExampleAnomalies) for name in anomaly_gate.INPUTS.values()},
        "model": ChannelParameter(type=Model),
        "model_run": ChannelParameter(type=ModelRun),
        "evaluation": ChannelParameter(type=ModelEvaluation),
        "blessing": ChannelParameter(type=ModelBlessing),
    }
    OUTPUTS = {  # noqa: RUF012
        "report": ChannelParameter(type=ModelEvaluation),
    }


class Executor(base_executor.BaseExecutor):  # type: ignore[misc]
    """Gathers the facts, and writes the page."""

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes FILE into the artifact's folder."""
        self._log_startup(input_dict, output_dict, exec_properties)
        one = {
            name: artifact_utils.get_single_instance(artifacts)
            for name, artifacts in input_dict.items()
            if name != "window"
        }
        (report,) = output_dict["report"]
        run_id = self._context.pipeline_run_id if self._context else None
        facts = gather(one, input_dict["window"], exec_properties, run_id or "")
        fileio.makedirs(report.uri)
        io_utils.write_string_file(posixpath.join(report.uri, FILE), run_page.render_run(facts))


class RunReport(base_component.BaseComponent):  # type: ignore[misc]
    """The component.

    Args:
      pipeline_name: what the report is headed with.
      configuration: what the run was told, as JSON.
      code_digest: of all the code that made the run; see `IdxExampleGen`.
      examples: as ingested.
      window: all that was trained on.
      reference: what the examples were compared with.
      statistics: of the examples.
      anomalies: what each validator found, by its name in words (components/anomaly_gate.py).
      model: the candidate.
      model_run: TensorBoard's logs.
      evaluation: what the Evaluator found.
      blessing: and its verdict.
    """

    SPEC_CLASS = Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        pipeline_name: str,
        configuration: str,
        code_digest: str,
        anomalies: dict[str, BaseChannel],
        **inputs: BaseChannel,
    ):
        channels = {anomaly_gate.INPUTS[gate]: channel for gate, channel in anomalies.items()}
        super().__init__(
            Spec(
                pipeline_name=pipeline_name,
                configuration=configuration,
                code_digest=code_digest,
                report=Channel(type=ModelEvaluation),
                **channels,
                **inputs,
            )
        )


def gather(
    one: dict[str, Artifact], window: list[Artifact], properties: dict[str, Any], run_id: str
) -> RunFacts:
    """Reads all that the report says.

    Args:
      one: the inputs, by name, but for `window`.
      window: all that was trained on.
      properties: the component's parameters.
      run_id: the orchestrator's name for the run.
    """
    configuration = json.loads(properties["configuration"])
    evaluation_uri = one["evaluation"].uri
    examples = one["examples"]
    return RunFacts(
        pipeline=properties["pipeline_name"],
        made_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        run_id=run_id,
        data=data_facts.gather(
            examples,
            window,
            one["reference"],
            one["statistics"],
            {gate: one[name] for gate, name in anomaly_gate.INPUTS.items()},
            configuration["validation"],
        ),
        training=training_facts.gather(one["model_run"].uri),
        evaluation=evaluation_results.read(evaluation_uri),
        confusion=evaluation_results.read_confusion_matrix(evaluation_uri),
        model=model_facts.gather(
            path_utils.serving_model_path(one["model"].uri),
            ingested.read(examples, idx_example_gen.TEST),
        ),
        expected_shares=configuration["validation"]["class_balance"],
        robustness_images=configuration["robustness"]["images"],
        recipe=configuration["trainer"],
        switched_off=[
            f"{section}.{key}"
            for section in ("validation", "evaluation")
            for key, value in configuration[section].items()
            if value == REPORT
        ],
        provenance=_provenance(one, window, properties, run_id),
        artifacts=[
            [name, str(artifact.id), artifact.uri]
            for name, artifact in [*one.items(), *(("window", each) for each in window)]
        ],
        versions={
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
        configuration=json.dumps(configuration, indent=1),
    )


def _provenance(
    one: dict[str, Artifact], window: list[Artifact], properties: dict[str, Any], run_id: str
) -> dict[str, str]:
    champion = one["blessing"].get_int_custom_property("baseline_model_id")
    files: dict[str, str] = {}
    for artifact in window:  # the last is this run's own data
        files |= json.loads(artifact.get_string_custom_property(idx_example_gen.FILES) or "{}")
    return {
        "run": run_id or "unknown",
        "data, sha256": one["examples"]
        .get_string_custom_property(utils.FINGERPRINT_PROPERTY_NAME)
        .removeprefix("sha256:"),
        **{f"data, {path}": digest for path, digest in files.items()},
        "code, sha256": properties["code_digest"],
        "model": f"artifact {one['model'].id}",
        "champion": f"artifact {champion}" if champion else "none",
    }
