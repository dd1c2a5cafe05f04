"""The slices of an evaluation: which examples, as TFMA is told and as it answers."""

from __future__ import annotations

from typing import Final, NamedTuple

from tensorflow_model_analysis.proto import config_pb2, metrics_for_slice_pb2

from components.corruptions import DIRECTIONS, TRANSLATE
from trainer import features

# There is none of everything: clean and corrupted images are no one population.
_CLEAN: Final = {features.CORRUPTION: features.IDENTITY}
ALL_DIGITS: Final = config_pb2.SlicingSpec(feature_values=_CLEAN)
EACH_DIGIT: Final = config_pb2.SlicingSpec(feature_keys=[features.LABEL], feature_values=_CLEAN)
EACH_STRENGTH: Final = config_pb2.SlicingSpec(feature_keys=[features.CORRUPTION, features.STRENGTH])
EACH_DIRECTION: Final = config_pb2.SlicingSpec(
    feature_keys=[features.STRENGTH, features.DIRECTION],
    feature_values={features.CORRUPTION: TRANSLATE},
)


class Slice(NamedTuple):
    """Which examples. The default is all clean test images."""

    digit: int | None = None
    corruption: str = features.IDENTITY
    strength: int | None = None
    direction: str | None = None

    @property
    def copies(self) -> int:
        """How often each image is in it."""
        is_every_direction = self.corruption == TRANSLATE and self.direction is None
        return len(DIRECTIONS) if is_every_direction else 1

    def __str__(self) -> str:
        """How a sentence goes on: empty, " on the digit 4", " under translate 2 left"."""
        if self.digit is not None:
            return f" on the digit {self.digit}"
        if self.corruption == features.IDENTITY:
            return ""
        return f" under {self.corruption} {self.strength} {self.direction or ''}".rstrip()


def parse(key: metrics_for_slice_pb2.SliceKey) -> Slice | None:
    """The slice that TFMA's key stands for; None for what is not one of ours."""
    parts = {
        part.column: (part.bytes_value.decode() if part.bytes_value else part.int64_value)
        for part in key.single_slice_keys
    }
    if set(parts) == {features.CORRUPTION, features.STRENGTH}:
        if parts[features.CORRUPTION] == features.IDENTITY:
            return None  # the same images as ALL_DIGITS
        return Slice(
            corruption=str(parts[features.CORRUPTION]), strength=int(parts[features.STRENGTH])
        )
    if set(parts) == {features.CORRUPTION, features.STRENGTH, features.DIRECTION}:
        return Slice(
            corruption=str(parts[features.CORRUPTION]),
            strength=int(parts[features.STRENGTH]),
            direction=str(parts[features.DIRECTION]),
        )
    if set(parts) == {features.CORRUPTION, features.LABEL}:
        return Slice(digit=int(parts[features.LABEL]))
    return Slice() if set(parts) == {features.CORRUPTION} else None


def is_for(spec: config_pb2.SlicingSpec, where: Slice) -> bool:
    """Whether a threshold for `spec` holds for a slice."""
    own = {
        features.CORRUPTION: where.corruption,
        features.STRENGTH: where.strength,
        features.DIRECTION: where.direction,
        features.LABEL: where.digit,
    }
    columns = {*spec.feature_keys, *spec.feature_values}
    return columns == {name for name, value in own.items() if value is not None} and all(
        str(own[name]) == value for name, value in spec.feature_values.items()
    )
