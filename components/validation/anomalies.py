"""The anomalies that validators record, and how they are worded.

The validators are TFX's ExampleValidator and DistributionValidator, and our ImageValidator. All
write one Anomalies proto for each split.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Final, NamedTuple

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.dsl.io import fileio
from tfx.types.artifact import Artifact
from tfx.utils import io_utils

FILE: Final = "SchemaDiff.pb"  # the name that TFX's validators use


class Check(StrEnum):
    """What a validator checks, in words; the validators in the order of the graph."""

    SCHEMA = "schema"
    CLASS_BALANCE = "class balance"
    SKEW = "skew"
    DRIFT = "drift"
    IMAGES = "images and labels"


_COMPARED: Final = {
    Check.CLASS_BALANCE: "the split and the expected shares",
    Check.SKEW: "the split and train",
    Check.DRIFT: "the split and the last accepted data",
}


class Anomaly(NamedTuple):
    """One reason why a split is rejected."""

    check: Check
    split: str
    feature: str
    """Empty for an anomaly of the whole split."""

    reason: str

    def __str__(self) -> str:
        where = f"{self.split}, {self.feature}" if self.feature else self.split
        return f"{self.check}: {where}: {self.reason}"


_PRECISION: Final = re.compile(r" ?\(up ?to six significant digits\)")
_COMPARISON: Final = re.compile(r"(?<=\d)[<>](?=-?\d)")  # such as 243.2>128


def read(artifact: Artifact, check: Check) -> Iterator[Anomaly]:
    """The anomalies that a validator recorded, in the order of the splits' names.

    Raises:
      FileNotFoundError: the artifact contains no validator's result.
    """
    for split, _, recorded in read_protos(artifact):
        for feature, info in sorted(recorded.anomaly_info.items()):
            reasons = [reason.description for reason in info.reason] or [info.description]
            for reason in reasons:
                yield Anomaly(check, split, feature, _in_words(check, reason))
        if recorded.HasField("dataset_anomaly_info"):
            for reason in recorded.dataset_anomaly_info.reason:
                yield Anomaly(check, split, "", reason.description)
        if recorded.data_missing:
            yield Anomaly(check, split, "", "the split contains no examples")


def read_protos(artifact: Artifact) -> list[tuple[str, str, anomalies_pb2.Anomalies]]:
    """For each split: its name, the split that it was compared with, and the recorded proto.

    The compared split is the split itself unless the validator compared two splits.

    Raises:
      FileNotFoundError: the artifact contains no validator's result.
    """
    found = []
    # Not a glob: the artifact's own path may contain brackets.
    for folder in sorted(name.rstrip("/") for name in fileio.listdir(artifact.uri)):
        path = posixpath.join(artifact.uri, folder, FILE)
        if not fileio.exists(path):
            continue
        # ExampleValidator writes `Split-train`, DistributionValidator `SplitPair-eval_train`.
        split, _, compared = folder.partition("-")[2].partition("_")
        content = io_utils.read_bytes_file(path)
        found.append((split, compared or split, anomalies_pb2.Anomalies.FromString(content)))
    if not found:
        raise FileNotFoundError(f"{artifact.uri} contains no split with a {FILE}")
    return found


def _in_words(check: Check, reason: str) -> str:
    """TFDV's reason without its remarks on precision, and with the names of what is compared."""
    text = _PRECISION.sub("", reason).rstrip(".")
    text = _COMPARISON.sub(r" \g<0> ", text)
    if check in _COMPARED:
        text = text.replace("current and previous", _COMPARED[check])
    if check is Check.DRIFT:
        text += "; to accept an intended change once, set validation.max_drift=report"
    return text
