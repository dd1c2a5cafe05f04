"""A compiled pipeline for Kubeflow Pipelines: what the compiler passes to the client."""

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
    """The TFX node of each KFP task, by the name of the task."""

    @property
    def version(self) -> str:
        """The digest of the pipeline, including its code: 12 hexadecimal digits."""
        return hashlib.sha256(self.yaml.encode()).hexdigest()[:12]


def task_name(node_id: str) -> str:
    """The name of a TFX node's task in KFP."""
    return node_id.lower()
