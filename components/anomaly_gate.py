"""AnomalyGate: stops the run if a validator found anomalies, and names them.

TFX's validators only record what they find, and nothing downstream reads it. This component
fails on any anomaly, so that the nodes that depend on it do not start.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.standard_artifacts import ExampleAnomalies, Examples, ExampleStatistics
from tfx.utils import io_utils

from components.names.artifact_properties import EXAMPLES_ID, IS_NEW_NORMAL, STATISTICS_ID
from components.validation import anomalies
from components.validation.anomalies import Anomaly, Check

ACCEPTANCE: Final = "acceptance"
ACCEPTED_FILE: Final = "ACCEPTED"
INPUTS: Final[Mapping[Check, str]] = {
    Check.SCHEMA: "schema_anomalies",
    Check.CLASS_BALANCE: "balance_anomalies",
    Check.SKEW: "skew_anomalies",
    Check.DRIFT: "drift_anomalies",
    Check.IMAGES: "image_anomalies",
}
"""The input that each check's anomalies arrive at."""

ANOMALY_CHANNELS: Final = {
    name: ChannelParameter(type=ExampleAnomalies) for name in INPUTS.values()
}


class AnomaliesFoundError(Exception):
    """The data has anomalies.

    Args:
      message: all of them, in one line.
      anomalies: the same, one by one.
    """

    # Beam creates the exception again from its arguments, with a longer message.
    def __init__(self, message: str, anomalies: Sequence[Anomaly]):
        super().__init__(message, anomalies)
        self.anomalies = tuple(anomalies)

    def __str__(self) -> str:
        return str(self.args[0])


class Spec(ComponentSpec):  # type: ignore[misc]
    """Inputs, outputs and parameters."""

    PARAMETERS = {  # noqa: RUF012
        IS_NEW_NORMAL: ExecutionParameter(type=int),
        "code_digest": ExecutionParameter(type=str),
    }
    INPUTS = {  # noqa: RUF012
        "examples": ChannelParameter(type=Examples),
        "statistics": ChannelParameter(type=ExampleStatistics),
        **ANOMALY_CHANNELS,
    }
    OUTPUTS = {ACCEPTANCE: ChannelParameter(type=ExampleAnomalies)}  # noqa: RUF012


class Executor(base_executor.BaseExecutor):  # type: ignore[misc]
    """Reads all anomalies, and records the acceptance of the data if there are none."""

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the acceptance.

        Raises:
          AnomaliesFoundError: a validator found something.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        given = {
            name: artifact_utils.get_single_instance(artifacts)
            for name, artifacts in input_dict.items()
        }
        found = [
            anomaly
            for check, name in INPUTS.items()
            for anomaly in anomalies.read(given[name], check)
        ]
        if found:
            count = f"{len(found)} anomal{'y' if len(found) == 1 else 'ies'}"
            raise AnomaliesFoundError(f"the data has {count}: {'; '.join(map(str, found))}", found)
        acceptance = artifact_utils.get_single_instance(output_dict[ACCEPTANCE])
        acceptance.set_int_custom_property(EXAMPLES_ID, given["examples"].id)
        acceptance.set_int_custom_property(STATISTICS_ID, given["statistics"].id)
        acceptance.set_int_custom_property(IS_NEW_NORMAL, exec_properties[IS_NEW_NORMAL])
        fileio.makedirs(acceptance.uri)
        io_utils.write_string_file(posixpath.join(acceptance.uri, ACCEPTED_FILE), "")


class AnomalyGate(base_component.BaseComponent):  # type: ignore[misc]
    """The gate. Its output is the acceptance of the data, which AcceptedSpans looks for.

    Args:
      examples: the examples that were validated.
      statistics: their statistics.
      anomalies: the result of each check.
      is_new_normal: whether drift is only reported, so that data accepted now is no longer
        compared with earlier data.
      code_digest: the digest of this component's code.
    """

    SPEC_CLASS = Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        examples: BaseChannel,
        statistics: BaseChannel,
        anomalies: Mapping[Check, BaseChannel],
        is_new_normal: bool,
        code_digest: str,
    ):
        super().__init__(
            Spec(
                examples=examples,
                statistics=statistics,
                is_new_normal=int(is_new_normal),
                code_digest=code_digest,
                acceptance=Channel(type=ExampleAnomalies),
                **{INPUTS[check]: channel for check, channel in anomalies.items()},
            )
        )
