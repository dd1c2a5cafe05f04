"""How files of examples are compressed."""

from __future__ import annotations

from typing import Final

import tensorflow as tf

GZIP: Final = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=4)
"""Level 4 takes two thirds of the time of the default, 6, and files are 5 % larger."""
