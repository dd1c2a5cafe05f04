"""The names of the formats. Standard library only: the command line lists them."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """The target of an export."""

    LITERT = "litert"
    """LiteRT, formerly TensorFlow Lite: phones and microcontrollers."""

    ONNX = "onnx"
    """Open Neural Network Exchange."""

    KERAS = "keras"
    """Keras' own format: a network that can be trained further."""
