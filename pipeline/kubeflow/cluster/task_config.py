"""The configuration of a task's pod: resources, placement, retries."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.kubeflow.cluster.kubernetes_values import Cpu, LabelKey, LabelValue, Memory, Resource
from pipeline.settings.toml_settings import Section


class Toleration(Section):
    """A taint of nodes that a pod tolerates."""

    key: LabelKey | Literal[""] = ""
    operator: Literal["Equal", "Exists"] = "Equal"
    value: LabelValue = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute", ""] = ""
    """Empty for all effects."""

    seconds: Annotated[int, Field(ge=0)] | None = None
    """With NoExecute: the time that the pod may stay."""

    @model_validator(mode="after")
    def _check_resources(self) -> Self:
        if self.operator == "Exists" and self.value:
            raise ValueError("operator Exists does not take a value")
        if self.operator == "Equal" and not self.key:
            raise ValueError("operator must be Exists if key is empty")
        if self.seconds is not None and self.effect != "NoExecute":
            raise ValueError("seconds requires the effect NoExecute")
        return self


class TaskConfig(Section):
    """The pod of a component. Keys that are not set have the values in `[defaults]`."""

    cpu_request: Cpu | None = None
    cpu_limit: Cpu | None = None
    memory_request: Memory | None = None
    memory_limit: Memory | None = None
    accelerator: Resource | None = None
    accelerator_count: Annotated[int, Field(ge=1, le=16)] | None = None
    """The number of accelerators; the default is 1."""

    node_selector: dict[LabelKey, LabelValue] | None = None
    tolerations: Annotated[tuple[Toleration, ...] | None, Field(strict=False)] = None
    labels: dict[LabelKey, LabelValue] | None = None
    retries: Annotated[int, Field(ge=0, le=100)] | None = None
    """The maximum number of retries. Kubeflow's default settings retry lost pods only."""

    retry_pause_s: Annotated[int, Field(ge=0, le=1800)] | None = None
    """The pause before the first retry; it doubles each time. KFP starts no retry later than one
    hour after the first start of the task."""

    timeout_s: Annotated[int, Field(ge=1)] | None = None
    """The maximum run time of a pod."""

    def over(self, defaults: TaskConfig) -> TaskConfig:
        """These settings; the defaults where they are not set."""
        own = self.model_dump(exclude_unset=True)
        return TaskConfig.model_validate({**defaults.model_dump(exclude_unset=True), **own})
