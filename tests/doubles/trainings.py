"""What a training reads, and what it wrote."""

import hashlib
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.images.idx_format import ImagesAndLabels
from trainer import features, model


def write(path: Path, digits: ImagesAndLabels, chosen: Iterable[int]) -> None:
    """Writes transformed examples of the digits at these positions, which are their indices."""
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for index in map(int, chosen):
            example = tf.train.Example()
            feature = example.features.feature
            feature[features.IMAGE].float_list.value.extend(digits.images[index].ravel() / 255)
            feature[features.LABEL].int64_list.value.append(int(digits.labels[index]))
            feature[features.INDEX].int64_list.value.append(index)
            writer.write(example.SerializeToString())


def load_weights(folder: Path) -> dict[str, NDArray[np.float32]]:
    """The weights in the SavedModel `folder`/model, by name."""
    checkpoint = tf.train.load_checkpoint(str(folder / "model" / "variables" / "variables"))
    shapes = checkpoint.get_variable_to_shape_map()
    names = sorted(name for name in shapes if name.endswith("VARIABLE_VALUE"))
    assert sum(math.prod(shapes[name]) for name in names) == model.PARAMETERS, "and no optimizer"
    return {name: checkpoint.get_tensor(name) for name in names}


def weights(folder: Path) -> str:
    """A digest of them."""
    digest = hashlib.sha256()
    for values in load_weights(folder).values():
        digest.update(values.tobytes())
    return digest.hexdigest()
