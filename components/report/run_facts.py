"""All that the report of a run says, before it is a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.evaluation_results import Evaluation
from components.report.data_facts import DataFacts
from components.report.model_facts import ModelFacts
from components.report.training_facts import TrainingFacts


@dataclass(frozen=True)
class RunFacts:
    """The facts of a run, by section."""

    pipeline: str
    made_at: str
    run_id: str
    data: DataFacts
    training: TrainingFacts
    evaluation: Evaluation
    confusion: NDArray[np.int64]
    """[10, 10], rows are the true digits."""

    model: ModelFacts
    expected_shares: Sequence[float]
    robustness_images: int
    provenance: Mapping[str, str]
    artifacts: Sequence[Sequence[str]]
    """Name, id and place of each."""

    versions: Mapping[str, str]
    recipe: Mapping[str, Any]
    switched_off: Sequence[str]
    """The limits that were "report", by their keys in the configuration."""

    configuration: str
