"""Imports TensorFlow in half of the time."""

from __future__ import annotations

import sys
from typing import Final

_OPTIMIZERS: Final = "keras.src.optimizers"


def without_keras() -> None:
    """Imports TensorFlow, but not Keras, which only training needs.

    At its end, TensorFlow imports Keras' optimizers, for SavedModels that are trained further, and
    ignores an ImportError. `None` in `sys.modules` makes Python raise one. Keras can be imported
    later.
    """
    sys.modules[_OPTIMIZERS] = None  # type: ignore[assignment]
    try:
        import tensorflow  # noqa: F401
    finally:
        del sys.modules[_OPTIMIZERS]
