"""The type in which the layers compute: float32, or bfloat16 where that is faster.

bfloat16 has the range of float32, and 8 bits of precision instead of 24. Intel processors with AMX
(since 2023) and AMD processors with AVX512_BF16 (Zen 4, since 2022) train faster in it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

import keras
import tensorflow as tf

from trainer.hparams import Precision

FLOAT32: Final = "float32"
BFLOAT16: Final = "bfloat16"
CPU_INFO: Final = Path("/proc/cpuinfo")
# The words in CPU_INFO of processors that train faster in bfloat16; all words of a set must be
# there. Intel processors with AVX512_BF16, but without AMX, train more slowly in it.
_FASTER_IN_BFLOAT16: Final = ({"amx_bf16"}, {"AuthenticAMD", "avx512_bf16"})
_ONEDNN: Final = "TF_ENABLE_ONEDNN_OPTS"  # "0": TensorFlow uses no oneDNN, which bfloat16 needs


def resolve(precision: Precision) -> Precision:
    """FLOAT32 or BFLOAT16: what "auto" means on this machine."""
    if precision != "auto":
        return precision
    if tf.config.list_physical_devices("GPU") or os.environ.get(_ONEDNN) == "0":
        return FLOAT32
    return BFLOAT16 if _processor_is_faster() else FLOAT32


def dtype_policy(precision: Precision) -> keras.DTypePolicy:
    """Keras' policy of a layer; its variables are float32."""
    return keras.DTypePolicy("mixed_bfloat16" if resolve(precision) == BFLOAT16 else FLOAT32)


def _processor_is_faster() -> bool:
    """Whether the processor trains faster in bfloat16."""
    with contextlib.suppress(OSError):  # not Linux
        found = set(CPU_INFO.read_text(encoding="utf-8").split())
        return any(needed <= found for needed in _FASTER_IN_BFLOAT16)
    return False
