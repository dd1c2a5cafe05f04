"""What a compiler hands to a client: a pipeline for Kubeflow, and what it is called there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class CompiledPipeline:
    """A pipeline for Kubeflow Pipelines."""

    name: str
    yaml: str
    nodes: Mapping[str, str]
    """The TFX node of each KFP task, by the task's name."""

    @property
    def version(self) -> str:
        """The digest of all of it, the code that it runs included: 12 hexadecimal digits."""
        return hashlib.sha256(self.yaml.encode()).hexdigest()[:12]
