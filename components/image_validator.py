"""ImageValidator: what no schema and no distribution can see of images and their labels.

  * Images of `eval` or `test` that are in the training data, to the pixel: a model would be
    measured by what it has learnt by heart.
  * Labels that belong to other images, such as a label file that is off by one: the shares of
    the classes are as they were, and so is each image. Every image is compared with the mean
    image of each class in data that was accepted before; most digits are nearest to their own
    (0.82 of MNIST's), and of shifted labels one in ten is.

It writes anomalies as TFX's validators do, and what it measured as MEASURES_FILE.
"""

# No `from __future__ import annotations`: the decorator reads the annotations as objects.

import json
import posixpath
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import io_utils, writer_utils

from components import ingested
from components.anomaly_gate import ANOMALIES_FILE
from components.idx_example_gen import EVAL, TEST, TRAIN
from trainer import features

MEASURES_FILE: Final = "measures.json"
NO_LIMIT: Final = -1  # in the place of a limit: measured only

_SHOWN: Final = 5  # of the duplicates that were found


@component
def ImageValidator(
    examples: InputArtifact[standard_artifacts.Examples],
    window: InputArtifact[list[standard_artifacts.Examples]],
    reference: InputArtifact[standard_artifacts.Examples],
    anomalies: OutputArtifact[standard_artifacts.ExampleAnomalies],
    max_duplicates: Parameter[int],
    min_label_agreement: Parameter[float],
    code_digest: Parameter[str],
) -> None:
    """Records duplicates and labels that do not fit.

    Args:
      examples: what is judged, as ingested.
      window: all that would be trained on; its split `train` is.
      reference: what the labels are compared with: its split `train` has each class's look.
      anomalies: what was found.
      max_duplicates: how many images of `eval`, and of `test`, may be in the training data;
        NO_LIMIT to measure only.
      min_label_agreement: the share of each split's images that must look most like their
        own class; 0 measures only.
      code_digest: identifies the code, see `IdxExampleGen`.
    """
    splits = {name: ingested.read(examples, name) for name in (TRAIN, EVAL, TEST)}

    def train_split(artifact: standard_artifacts.Examples) -> ingested.Split:
        return splits[TRAIN] if artifact.id == examples.id else ingested.read(artifact, TRAIN)

    trained = {pixels for artifact in window for pixels in train_split(artifact).pixels}
    looks = class_means(train_split(reference))
    measures: dict[str, dict[str, float | None]] = {"duplicates": {}, "label_agreement": {}}
    anomalies.split_names = artifact_utils.encode_split_names(list(splits))
    for name, split in splits.items():
        found = anomalies_pb2.Anomalies()
        if name != TRAIN:
            is_trained = [pixels in trained for pixels in split.pixels]
            twice = split.indices[is_trained]
            measures["duplicates"][name] = len(twice)
            if max_duplicates != NO_LIMIT and len(twice) > max_duplicates:
                first = ", ".join(map(str, twice[:_SHOWN]))
                more = ", ..." if len(twice) > _SHOWN else ""
                _record(
                    found,
                    features.IMAGE,
                    "Duplicates of training images",
                    f"{len(twice)} of {len(split.labels)} images are in the training data, too "
                    f"(number {first}{more}), and {max_duplicates} may be",
                )
        share = label_agreement(split, looks)
        measures["label_agreement"][name] = share
        if share is not None and share < min_label_agreement:
            _record(
                found,
                features.LABEL,
                "Labels do not fit the images",
                f"only {share:.3f} of the images look most like the class of their label, and at "
                f"least {min_label_agreement:g} is expected: do the labels belong to these images?",
            )
        folder = artifact_utils.get_split_uri([anomalies], name)
        writer_utils.write_anomalies(posixpath.join(folder, ANOMALIES_FILE), found)
    fileio.makedirs(anomalies.uri)
    io_utils.write_string_file(
        posixpath.join(anomalies.uri, MEASURES_FILE), json.dumps(measures, indent=1)
    )


def class_means(split: ingested.Split) -> NDArray[np.float32] | None:
    """The mean image of each class, float32 [10, 784]; NaN for a class that has none.

    None where images are of another size, which is for the schema to say.
    """
    images = _flat(split)
    if images is None:
        return None
    means = np.full((features.NUM_CLASSES, features.NUM_PIXELS), np.nan, np.float32)
    for digit in np.intersect1d(split.labels, np.arange(features.NUM_CLASSES)):
        means[digit] = images[split.labels == digit].mean(axis=0)
    return means


def label_agreement(split: ingested.Split, looks: NDArray[np.float32] | None) -> float | None:
    """The share of images whose nearest class mean, by Euclidean distance, is their label's.

    None where that cannot be said: there are no images, or some are of another size.
    """
    images = _flat(split)
    if images is None or looks is None or not len(images):
        return None
    # |image - mean|^2 without |image|^2, which is the same for every class.
    distance = (looks**2).sum(axis=1) - 2 * images @ looks.T
    nearest = np.where(np.isnan(distance), np.inf, distance).argmin(axis=1)
    return float((nearest == split.labels).mean())


def _flat(split: ingested.Split) -> NDArray[np.float32] | None:
    if any(len(pixels) != features.NUM_PIXELS for pixels in split.pixels):
        return None
    return split.images.reshape(-1, features.NUM_PIXELS).astype(np.float32)


def _record(found: anomalies_pb2.Anomalies, feature: str, short: str, long: str) -> None:
    info = found.anomaly_info[feature]
    info.path.step.append(feature)
    info.severity = anomalies_pb2.AnomalyInfo.ERROR
    info.short_description, info.description = short, long
    info.reason.add(short_description=short, description=long)
