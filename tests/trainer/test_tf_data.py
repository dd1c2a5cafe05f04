"""What datasets read, and that no thread tunes them."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from trainer import dataset, tf_data
from trainer.dataset import Split

SPLIT = Split(np.zeros((10, 28, 28, 1), np.float32), np.zeros(10, np.int64))


@pytest.mark.parametrize(
    "made",
    [
        dataset.training_batches(SPLIT, batch_size=4, seed=1),
        dataset.training_batches(SPLIT, batch_size=4, seed=1, max_shift_px=1.0),
        dataset.evaluation_batches(SPLIT),
        tf_data.records(["file"]),
    ],
    ids=["training", "training with shifts", "evaluation", "records"],
)
def test_no_thread_tunes_a_dataset(made: tf.data.Dataset) -> None:
    assert made.options().autotune.enabled is False
    assert tf.data.Dataset.range(1).options().autotune.enabled is None, "TensorFlow's default"


def test_records_are_read_in_the_order_of_the_files(tmp_path: Path) -> None:
    written = [b"%d" % number for number in range(5000)]
    files = [str(tmp_path / name) for name in ("b.gz", "a.gz")]
    for path, part in zip(files, (written[:4500], written[4500:]), strict=True):
        with tf.io.TFRecordWriter(path, "GZIP") as writer:
            for record in part:
                writer.write(record)
    batches = list(tf_data.records(files).as_numpy_iterator())
    assert [len(batch) for batch in batches] == [4096, 904]
    assert [record for batch in batches for record in batch.tolist()] == written
