"""The colours of ink and paper in a picture. Apart from `images.py`, which imports NumPy."""

from __future__ import annotations

from enum import StrEnum


class Polarity(StrEnum):
    """The colours of ink and paper."""

    AUTO = "auto"
    """The colour of the paper is that of the picture's edge."""

    WHITE_ON_BLACK = "white-on-black"
    BLACK_ON_WHITE = "black-on-white"
