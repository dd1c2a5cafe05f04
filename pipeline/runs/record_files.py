"""Finds damaged TFRecord files, by the checksums of TFRecord and gzip.

TensorFlow's own errors contain the place in the file ("corrupted record at 727873"), but not its
name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import tensorflow as tf

_COMPRESSIONS: Final = {".gz": "GZIP", ".tfrecord": ""}  # by the suffix of an artifact's files


class DamagedFile(NamedTuple):
    """A file that cannot be read to its end."""

    path: Path
    reason: str


def find_damaged(folder: Path) -> list[DamagedFile]:
    """Reads all TFRecord files in a folder, and returns the damaged ones."""
    found = []
    for path in sorted(folder.rglob("*")):
        compression = _COMPRESSIONS.get(path.suffix)
        if compression is None or not path.is_file():
            continue
        if compression and not path.stat().st_size:
            found.append(DamagedFile(path, "it is empty"))
            continue
        records = tf.data.TFRecordDataset(str(path), compression_type=compression)
        try:
            records.reduce(0, lambda count, _: count + 1)
        except tf.errors.DataLossError as error:
            reason = error.message.rpartition("}} ")[2].partition(" [Op:")[0]
            found.append(DamagedFile(path, reason))
    return found
