"""What the pod of one task gets: resources, placement, retries."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.kubernetes_values import Cpu, LabelKey, LabelValue, Memory, Resource
from pipeline.settings_file import Section


class Toleration(Section):
    """A taint of nodes that a pod may be put on all the same."""

    key: LabelKey | Literal[""] = ""
    operator: Literal["Equal", "Exists"] = "Equal"
    value: LabelValue = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute", ""] = ""
    """Empty for all effects."""

    seconds: Annotated[int, Field(ge=0)] | None = None
    """With NoExecute: how long the pod may stay."""

    @model_validator(mode="after")
    def _is_what_kubernetes_takes(self) -> Self:
        if self.operator == "Exists" and self.value:
            raise ValueError("operator is Exists, which goes without a value")
        if self.operator == "Equal" and not self.key:
            raise ValueError("without a key the operator has to be Exists")
        if self.seconds is not None and self.effect != "NoExecute":
            raise ValueError("seconds goes with the effect NoExecute only")
        return self


class TaskConfig(Section):
    """What a component's pod gets. What is not said of a component is as in `[defaults]`."""

    cpu_request: Cpu | None = None
    cpu_limit: Cpu | None = None
    memory_request: Memory | None = None
    memory_limit: Memory | None = None
    accelerator: Resource | None = None
    accelerator_count: Annotated[int, Field(ge=1, le=16)] | None = None
    """How many; one unless said."""

    node_selector: dict[LabelKey, LabelValue] | None = None
    tolerations: Annotated[tuple[Toleration, ...] | None, Field(strict=False)] = None
    labels: dict[LabelKey, LabelValue] | None = None
    retries: Annotated[int, Field(ge=0, le=100)] | None = None
    """How often a failed task is tried again."""

    retry_pause_s: Annotated[int, Field(ge=0, le=1800)] | None = None
    """The pause before the first retry; it doubles each time. KFP starts no retry later than
    an hour after the task's first start."""

    timeout_s: Annotated[int, Field(ge=1)] | None = None
    """How long a pod may run."""

    def over(self, defaults: TaskConfig) -> TaskConfig:
        """These settings where they are said, and the defaults elsewhere."""
        said = self.model_dump(exclude_unset=True)
        return TaskConfig.model_validate({**defaults.model_dump(exclude_unset=True), **said})
