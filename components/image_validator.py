"""ImageValidator: finds duplicates of training images, and labels that do not fit their images.

It writes anomalies as TFX's validators do, and the measured values as `image_checks.MEASURES_FILE`.
"""

# No `from __future__ import annotations`: the decorator reads the annotations as objects.

import json
import posixpath
from collections.abc import Collection, Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import io_utils, writer_utils

from components.images import example_split
from components.images.example_split import ExampleSplit
from components.names.splits import SPLITS, TRAIN
from components.validation import anomalies as recorded_anomalies
from components.validation import image_checks
from trainer import features

NO_LIMIT: Final = -1  # as `max_duplicates`: measure only

_SHOWN: Final = 5  # duplicates that a message names


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
      examples: the examples to check, as ingested.
      window: all examples to train on; their split `train` is read.
      reference: the examples whose class means the labels are compared with; their split
        `train` is read.
      anomalies: the result.
      max_duplicates: how many images of `eval`, and of `test`, may be training images as well;
        NO_LIMIT to measure only.
      min_label_agreement: the minimum of the label agreement (`image_checks`) in each split; 0 to
        measure only.
      code_digest: the digest of this component's code.
    """
    trained = {
        image_checks.digest(pixels)
        for artifact in window
        for block in example_split.blocks(artifact, TRAIN)
        for pixels in block.pixels
    }
    means = image_checks.class_means(example_split.blocks(reference, TRAIN))
    measures: dict[str, dict[str, float | None]] = {"duplicates": {}, "label_agreement": {}}
    anomalies.split_names = artifact_utils.encode_split_names(list(SPLITS))
    for name in SPLITS:
        found = anomalies_pb2.Anomalies()
        of_training = trained if name != TRAIN else ()
        indices, share = _measure(example_split.blocks(examples, name), of_training, means)
        if name != TRAIN:
            measures["duplicates"][name] = len(indices)
            if max_duplicates != NO_LIMIT and len(indices) > max_duplicates:
                _record(
                    found,
                    features.IMAGE,
                    "Duplicates of training images",
                    f"{_duplicates_text(indices)}; the limit is {max_duplicates}",
                )
        measures["label_agreement"][name] = share
        if share is not None and share < min_label_agreement:
            _record(
                found,
                features.LABEL,
                "Labels do not fit the images",
                f"{share:.3f} of the images are nearest to the mean image of their label; the "
                f"minimum is {min_label_agreement:g}. Check whether the label file belongs to the "
                "image file",
            )
        folder = artifact_utils.get_split_uri([anomalies], name)
        writer_utils.write_anomalies(posixpath.join(folder, recorded_anomalies.FILE), found)
    fileio.makedirs(anomalies.uri)
    io_utils.write_string_file(
        posixpath.join(anomalies.uri, image_checks.MEASURES_FILE), json.dumps(measures, indent=1)
    )


def _measure(
    blocks: Iterable[ExampleSplit], trained: Collection[bytes], means: NDArray[np.float32] | None
) -> tuple[list[int], float | None]:
    """The indices of duplicates of training images, and the label agreement of a split.

    The agreement is None if it is undefined: the split is empty, or images have another size.
    """
    indices: list[int] = []
    images, agreements = 0, 0
    is_defined = True
    for block in blocks:
        indices += image_checks.duplicates(block, trained).tolist()
        agreeing = image_checks.agreements(block, means)
        is_defined &= agreeing is not None
        images += len(block.pixels)
        agreements += agreeing or 0
    return sorted(indices), agreements / images if is_defined and images else None


def _duplicates_text(indices: list[int]) -> str:
    first = ", ".join(map(str, indices[:_SHOWN]))
    if len(indices) == 1:
        return f"1 duplicate of a training image (index {first})"
    more = ", ..." if len(indices) > _SHOWN else ""
    return f"{len(indices)} duplicates of training images (indices {first}{more})"


def _record(found: anomalies_pb2.Anomalies, feature: str, short: str, long: str) -> None:
    info = found.anomaly_info[feature]
    info.path.step.append(feature)
    info.severity = anomalies_pb2.AnomalyInfo.ERROR
    info.short_description, info.description = short, long
    info.reason.add(short_description=short, description=long)
