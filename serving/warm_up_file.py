"""TF Serving's warm-up file: recorded requests that a server runs before it serves a version.

The file is `assets.extra/tf_serving_warmup_requests` in the version's folder: a TFRecord file of at
most 1000 PredictionLog protos.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from serving.errors import InvalidRequestError

PATH: Final = "assets.extra/tf_serving_warmup_requests"
MAX_RECORDS: Final = 1000
_FRAME_BYTES: Final = 16  # of each record: its length, and two checksums


def read(path: Path) -> Iterator[prediction_log_pb2.PredictionLog]:
    """The records of a file; none if the file does not exist.

    Raises:
      InvalidRequestError: the file is damaged, or contains too many records.
    """
    if not path.exists():
        return
    size_bytes = 0
    try:
        for count, record in enumerate(tf.compat.v1.io.tf_record_iterator(str(path))):
            if count == MAX_RECORDS:
                raise InvalidRequestError(f"it contains more than {MAX_RECORDS} records.")
            yield prediction_log_pb2.PredictionLog.FromString(record)
            size_bytes += len(record) + _FRAME_BYTES
        if size_bytes != path.stat().st_size:  # TensorFlow ignores a last record of a few bytes
            raise InvalidRequestError(
                "it is not a TFRecord file of PredictionLog: it is truncated."
            )
    except (tf.errors.DataLossError, DecodeError) as error:
        raise InvalidRequestError(f"it is not a TFRecord file of PredictionLog: {error}") from error


def write(path: Path, records: Iterable[prediction_log_pb2.PredictionLog]) -> None:
    """Writes a file, and creates its folder if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record.SerializeToString())
