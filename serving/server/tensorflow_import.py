"""Imports TensorFlow in half of the time."""

from __future__ import annotations

import sys
from typing import Final

_OPTIMIZERS: Final = ("keras.src.optimizers", "tf_keras.src.optimizers")


def without_keras() -> None:
    """Imports TensorFlow, but neither Keras nor Keras 2, which only training needs.

    At its end, TensorFlow imports the optimizers of one of them, for SavedModels that are trained
    further, and ignores an ImportError. `None` in `sys.modules` makes Python raise one. Keras can
    be imported later.
    """
    if "tensorflow" in sys.modules:
        return
    for name in _OPTIMIZERS:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        import tensorflow  # noqa: F401
    finally:
        for name in _OPTIMIZERS:
            del sys.modules[name]
