"""The type in which the layers compute: float32, or bfloat16 where that is faster.

bfloat16 has the range of float32, and 8 bits of precision instead of 24. Processors with AMX
(Intel, since 2023) multiply it several times faster.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

import keras
import tensorflow as tf

from trainer.hparams import Precision

FLOAT32: Final = "float32"
BFLOAT16: Final = "bfloat16"
CPU_INFO: Final = Path("/proc/cpuinfo")
_AMX: Final = "amx_bf16"  # Linux' name


def dtype_policy(precision: Precision) -> keras.DTypePolicy:
    """Keras' policy of a layer; its variables are float32."""
    if precision == "auto":
        on_amx = _has_amx() and not tf.config.list_physical_devices("GPU")
        precision = BFLOAT16 if on_amx else FLOAT32
    return keras.DTypePolicy("mixed_bfloat16" if precision == BFLOAT16 else FLOAT32)


def _has_amx() -> bool:
    with contextlib.suppress(OSError):  # not Linux
        return _AMX in CPU_INFO.read_text(encoding="utf-8").split()
    return False
