"""Artifacts on disk, as components write them, without a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf
from tfx.types import artifact_utils, standard_artifacts

from components.images.idx_format import ImagesAndLabels
from components.images.idx_pair import make_examples


def examples(
    folder: Path, splits: Mapping[str, ImagesAndLabels], artifact_id: int = 1, span: int = 0
) -> standard_artifacts.Examples:
    """Writes the output of IdxExampleGen in two files per split, and in a different order.

    Components must not rely on the order: spans of earlier releases have none.
    """
    artifact = standard_artifacts.Examples()
    artifact.id = artifact_id
    artifact.uri = str(folder)
    artifact.split_names = artifact_utils.encode_split_names(list(splits))
    artifact.set_int_custom_property("span", span)
    for name, pair in splits.items():
        made = list(make_examples(pair))
        split = folder / f"Split-{name}"
        split.mkdir(parents=True)
        for number, part in enumerate((made[::2][::-1], made[1::2])):
            with tf.io.TFRecordWriter(str(split / f"data-{number}.gz"), "GZIP") as writer:
                for example in part:
                    writer.write(example.SerializeToString())
    return artifact
