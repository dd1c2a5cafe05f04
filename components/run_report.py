"""RunReport: one HTML page about a run, and the model card; `components/report/` writes both.

It runs after the Evaluator. The page shows data, training, evaluation with the reasons for
a rejection, and the provenance of the model. It does not know the push, since it does not depend
on it; `components/report/outcome.py` adds the end of a run to a copy.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.standard_artifacts import (
    Examples,
    ExampleStatistics,
    Model,
    ModelBlessing,
    ModelEvaluation,
    ModelRun,
)
from tfx.utils import io_utils

from components import anomaly_gate
from components.report import model_card, run_facts, run_page
from components.report.run_facts import ReportArtifacts, ReportParameters
from components.validation.anomalies import Check

FILE: Final = "report.html"
REPORT: Final = "report"  # the key of the output


class Spec(ComponentSpec):  # type: ignore[misc]
    """Inputs, outputs and parameters."""

    PARAMETERS = {  # noqa: RUF012
        "pipeline_name": ExecutionParameter(type=str),
        "configuration": ExecutionParameter(type=str),
        "gates_off": ExecutionParameter(type=str),
        "code_digest": ExecutionParameter(type=str),
    }
    INPUTS = {  # noqa: RUF012
        "examples": ChannelParameter(type=Examples),
        "window": ChannelParameter(type=Examples),
        "reference": ChannelParameter(type=Examples),
        "statistics": ChannelParameter(type=ExampleStatistics),
        **anomaly_gate.ANOMALY_CHANNELS,
        "model": ChannelParameter(type=Model),
        "model_run": ChannelParameter(type=ModelRun),
        "evaluation": ChannelParameter(type=ModelEvaluation),
        "blessing": ChannelParameter(type=ModelBlessing),
    }
    OUTPUTS = {REPORT: ChannelParameter(type=ModelEvaluation)}  # noqa: RUF012


class Executor(base_executor.BaseExecutor):  # type: ignore[misc]
    """Gathers the facts, and writes the pages."""

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes FILE, and the model card, into the folder of the output."""
        self._log_startup(input_dict, output_dict, exec_properties)

        def one(name: str) -> Artifact:
            return artifact_utils.get_single_instance(input_dict[name])

        artifacts = ReportArtifacts(
            examples=one("examples"),
            window=input_dict["window"],
            reference=one("reference"),
            statistics=one("statistics"),
            anomalies={check: one(name) for check, name in anomaly_gate.INPUTS.items()},
            model=one("model"),
            model_run=one("model_run"),
            evaluation=one("evaluation"),
            blessing=one("blessing"),
        )
        parameters = ReportParameters(
            pipeline_name=exec_properties["pipeline_name"],
            configuration_json=exec_properties["configuration"],
            gates_off=exec_properties["gates_off"],
            code_digest=exec_properties["code_digest"],
            run_id=(self._context.pipeline_run_id if self._context else None) or "unknown",
        )
        facts = run_facts.gather(artifacts, parameters)
        report = artifact_utils.get_single_instance(output_dict[REPORT])
        fileio.makedirs(report.uri)
        for name, text in (
            (FILE, run_page.render_run(facts)),
            (model_card.MARKDOWN, model_card.render_markdown(facts)),
            (model_card.HTML, model_card.render_html(facts)),
        ):
            io_utils.write_string_file(posixpath.join(report.uri, name), text)


@dataclass(frozen=True)
class ReportChannels:
    """The inputs of RunReport; `ReportArtifacts` says what each is."""

    examples: BaseChannel
    window: BaseChannel
    reference: BaseChannel
    statistics: BaseChannel
    anomalies: Mapping[Check, BaseChannel]
    model: BaseChannel
    model_run: BaseChannel
    evaluation: BaseChannel
    blessing: BaseChannel


class RunReport(base_component.BaseComponent):  # type: ignore[misc]
    """The component.

    Args:
      pipeline_name: the title of the report.
      configuration: the configuration of the run, as JSON.
      gates_off: the keys of the limits that are only reported, separated by commas.
      code_digest: the digest of all code of the project.
      channels: the inputs.
    """

    SPEC_CLASS = Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        pipeline_name: str,
        configuration: str,
        gates_off: str,
        code_digest: str,
        channels: ReportChannels,
    ):
        super().__init__(
            Spec(
                pipeline_name=pipeline_name,
                configuration=configuration,
                gates_off=gates_off,
                code_digest=code_digest,
                examples=channels.examples,
                window=channels.window,
                reference=channels.reference,
                statistics=channels.statistics,
                model=channels.model,
                model_run=channels.model_run,
                evaluation=channels.evaluation,
                blessing=channels.blessing,
                report=Channel(type=ModelEvaluation),
                **{
                    anomaly_gate.INPUTS[check]: found for check, found in channels.anomalies.items()
                },
            )
        )
