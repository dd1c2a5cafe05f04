"""What a training reads, and what it wrote."""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.images import idx_pair
from components.images.idx_format import ImagesAndLabels
from trainer import model
from trainer.hparams import HyperParameters
from trainer.training import Job


def write(path: Path, digits: ImagesAndLabels, chosen: Iterable[int]) -> None:
    """Writes examples of the digits at these positions, in this order."""
    positions = list(chosen)
    pair = ImagesAndLabels(digits.images[positions], digits.labels[positions])
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for example in idx_pair.make_examples(pair):
            writer.write(example.SerializeToString())


def job(folder: Path, files: Mapping[str, Sequence[str]], graph: str, **hparams: Any) -> Job:
    """A training in two processes; writes to `folder`/model and `folder`/run."""
    recipe = {"batch_size": 32, "dropout": 0.1, "schedule": "one_cycle", "workers": 2, **hparams}
    return Job(
        hparams=HyperParameters(**recipe),
        train_files=tuple(files["train"]),
        eval_files=tuple(files["eval"]),
        transform_output=graph,
        serving_model_dir=str(folder / "model"),
        model_run_dir=str(folder / "run"),
    )


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
