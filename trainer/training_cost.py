"""The cost of one training, as JSON beside TensorBoard's logs. Standard library only."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final

FILE: Final = "cost.json"


@dataclass(frozen=True)
class TrainingCost:
    """The cost of one training."""

    seconds: float
    steps: int
    images: int
    """Images shown, each counted once in every epoch."""

    images_per_s: float

    precision: str = "float32"
    """The type in which the layers computed."""

    def to_json(self) -> str:
        """The content of FILE."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> TrainingCost:
        """The inverse of `to_json`.

        Raises:
          ValueError, TypeError: the text is not such an object.
        """
        return cls(**json.loads(text))
