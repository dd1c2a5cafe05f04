"""The slices of an evaluation: as TFMA is configured with them, and as it reports them."""

from __future__ import annotations

from typing import Final, NamedTuple

from tensorflow_model_analysis.proto import config_pb2, metrics_for_slice_pb2

from components.evaluation.slice_features import CORRUPTION, DIRECTION, IDENTITY, STRENGTH
from components.images.corruptions import DIRECTIONS, TRANSLATE
from trainer import features

# There is no overall slice: clean and corrupted images are not one population.
_CLEAN: Final = {CORRUPTION: IDENTITY}
ALL_DIGITS: Final = config_pb2.SlicingSpec(feature_values=_CLEAN)
EACH_DIGIT: Final = config_pb2.SlicingSpec(feature_keys=[features.LABEL], feature_values=_CLEAN)
EACH_STRENGTH: Final = config_pb2.SlicingSpec(feature_keys=[CORRUPTION, STRENGTH])
EACH_DIRECTION: Final = config_pb2.SlicingSpec(
    feature_keys=[STRENGTH, DIRECTION], feature_values={CORRUPTION: TRANSLATE}
)


class Slice(NamedTuple):
    """A set of evaluated examples. The default is all clean test images."""

    digit: int | None = None
    corruption: str = IDENTITY
    strength: int | None = None
    direction: str | None = None

    @property
    def copies(self) -> int:
        """How many examples of the slice show the same test image."""
        is_every_direction = self.corruption == TRANSLATE and self.direction is None
        return len(DIRECTIONS) if is_every_direction else 1

    @property
    def name(self) -> str:
        """Such as "all test images", "digit 4" or "translate 2 left"."""
        if self.digit is not None:
            return f"digit {self.digit}"
        if self.corruption == IDENTITY:
            return "all test images"
        return f"{self.corruption} {self.strength} {self.direction or ''}".rstrip()

    @property
    def phrase(self) -> str:
        """How a sentence continues: "", " on digit 4", " under translate 2 left"."""
        if self == Slice():
            return ""
        return f" {'under' if self.digit is None else 'on'} {self.name}"


def parse(key: metrics_for_slice_pb2.SliceKey) -> Slice | None:
    """The slice of a key in TFMA's results; None for a slice that is not reported."""
    parts = {
        part.column: (part.bytes_value.decode() if part.bytes_value else part.int64_value)
        for part in key.single_slice_keys
    }
    if set(parts) == {CORRUPTION, STRENGTH}:
        if parts[CORRUPTION] == IDENTITY:
            return None  # the same images as ALL_DIGITS
        return Slice(corruption=str(parts[CORRUPTION]), strength=int(parts[STRENGTH]))
    if set(parts) == {CORRUPTION, STRENGTH, DIRECTION}:
        return Slice(
            corruption=str(parts[CORRUPTION]),
            strength=int(parts[STRENGTH]),
            direction=str(parts[DIRECTION]),
        )
    if set(parts) == {CORRUPTION, features.LABEL}:
        return Slice(digit=int(parts[features.LABEL]))
    return Slice() if set(parts) == {CORRUPTION} else None


def applies(spec: config_pb2.SlicingSpec, where: Slice) -> bool:
    """Whether a threshold that is configured for `spec` applies to a slice."""
    own = {
        CORRUPTION: where.corruption,
        STRENGTH: where.strength,
        DIRECTION: where.direction,
        features.LABEL: where.digit,
    }
    columns = {*spec.feature_keys, *spec.feature_values}
    return columns == {name for name, value in own.items() if value is not None} and all(
        str(own[name]) == value for name, value in spec.feature_values.items()
    )
