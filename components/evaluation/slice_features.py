"""The features of evaluated examples that slices are made from. Standard library only.

Examples as evaluated have the features IMAGE, LABEL and INDEX as ingested
(`trainer/features.py`) and these.
"""

from __future__ import annotations

from typing import Final

CORRUPTION: Final = "corruption"  # bytes: IDENTITY, or a name of components/images/corruptions.py
STRENGTH: Final = "strength"  # int64: 0 with IDENTITY, 1 or more with a corruption
DIRECTION: Final = "direction"  # bytes: the direction of a translation; empty with others

IDENTITY: Final = "identity"  # the image as ingested; MNIST-C's name
