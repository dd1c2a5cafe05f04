"""AnomalyGate: stops the run when data validation found anomalies, saying which.

TFX's validators only record what they find; nothing downstream looks at it. This
component fails on any anomaly, so that whatever waits for it never starts.
"""

# No `from __future__ import annotations`: the decorator reads the annotations as objects.

import posixpath
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts
from tfx.types.artifact import Artifact
from tfx.utils import io_utils

ANOMALIES_FILE = "SchemaDiff.pb"  # the name that TFX's validators write
ACCEPTED_FILE = "ACCEPTED"

# Custom properties of the acceptance.
EXAMPLES_ID, STATISTICS_ID = "examples_id", "statistics_id"
IS_NEW_NORMAL = "is_new_normal"  # 1: drift was not looked at, so a change was meant

# The validators, in words, and the input that each one's anomalies come in as.
SCHEMA = "schema"
CLASS_BALANCE = "class balance"
SKEW = "skew between splits"
DRIFT = "drift from the last accepted data"
IMAGES = "images and labels"
INPUTS: Final = {
    SCHEMA: "schema_anomalies",
    CLASS_BALANCE: "balance_anomalies",
    SKEW: "skew_anomalies",
    DRIFT: "drift_anomalies",
    IMAGES: "image_anomalies",
}


class Anomaly(NamedTuple):
    """One reason why a split is not what it must be."""

    gate: str
    """Which validator says so, in words."""

    split: str
    feature: str  # empty for an anomaly of the whole split
    reason: str

    def __str__(self) -> str:
        where = f"{self.split}, {self.feature}" if self.feature else self.split
        return f"{self.gate}: {where}: {self.reason}"


class AnomaliesFoundError(Exception):
    """The data is not what it must be.

    Args:
      message: what is wrong, in one line.
      anomalies: the same, one by one.
    """

    # Beam makes the exception anew from its arguments, with a longer message.
    def __init__(self, message: str, anomalies: Sequence[Anomaly]):
        super().__init__(message, anomalies)
        self.anomalies = tuple(anomalies)

    def __str__(self) -> str:
        return str(self.args[0])


@component
def AnomalyGate(
    examples: InputArtifact[standard_artifacts.Examples],
    statistics: InputArtifact[standard_artifacts.ExampleStatistics],
    schema_anomalies: InputArtifact[standard_artifacts.ExampleAnomalies],
    balance_anomalies: InputArtifact[standard_artifacts.ExampleAnomalies],
    skew_anomalies: InputArtifact[standard_artifacts.ExampleAnomalies],
    drift_anomalies: InputArtifact[standard_artifacts.ExampleAnomalies],
    image_anomalies: InputArtifact[standard_artifacts.ExampleAnomalies],
    acceptance: OutputArtifact[standard_artifacts.ExampleAnomalies],
    is_new_normal: Parameter[int],
    code_digest: Parameter[str],
) -> None:
    """Raises AnomaliesFoundError unless all validators found nothing.

    Args:
      examples: what was judged.
      statistics: its statistics.
      schema_anomalies: what ExampleValidator found.
      balance_anomalies: how the classes' shares differ from the expected ones.
      skew_anomalies: how `eval` and `test` differ from `train`.
      drift_anomalies: how the splits differ from those that were accepted before.
      image_anomalies: what ImageValidator found.
      acceptance: made where nothing was found. Its custom properties name the examples and
        the statistics, for AcceptedSpans.
      is_new_normal: 1 where drift is only reported: what is accepted then is no longer compared
        with what was before it.
      code_digest: identifies the code, see `IdxExampleGen`.
    """
    found = [
        anomaly
        for gate, anomalies in (
            (SCHEMA, schema_anomalies),
            (CLASS_BALANCE, balance_anomalies),
            (SKEW, skew_anomalies),
            (DRIFT, drift_anomalies),
            (IMAGES, image_anomalies),
        )
        for anomaly in read_anomalies(anomalies, gate)
    ]
    if found:
        count = f"{len(found)} anomal{'y' if len(found) == 1 else 'ies'}"
        raise AnomaliesFoundError(f"the data has {count}: {'; '.join(map(str, found))}", found)
    acceptance.set_int_custom_property(EXAMPLES_ID, examples.id)
    acceptance.set_int_custom_property(STATISTICS_ID, statistics.id)
    acceptance.set_int_custom_property(IS_NEW_NORMAL, is_new_normal)
    fileio.makedirs(acceptance.uri)
    io_utils.write_string_file(posixpath.join(acceptance.uri, ACCEPTED_FILE), "")


def read_anomalies(artifact: Artifact, gate: str) -> Iterator[Anomaly]:
    """What a validator recorded, in the order of the splits' names; `gate` is its name in words.

    Raises:
      FileNotFoundError: it recorded nothing, not even that all is well.
    """
    folders = sorted(name.rstrip("/") for name in fileio.listdir(artifact.uri))
    # Not a glob: the artifact's own path may have brackets in it.
    paths = [posixpath.join(artifact.uri, folder, ANOMALIES_FILE) for folder in folders]
    if not any(map(fileio.exists, paths)):
        raise FileNotFoundError(f"{artifact.uri} has no split with a {ANOMALIES_FILE}")
    for folder, path in zip(folders, paths, strict=True):
        if not fileio.exists(path):
            continue
        # ExampleValidator writes `Split-train`, DistributionValidator `SplitPair-train_train`.
        split = folder.partition("-")[2].partition("_")[0]
        recorded = anomalies_pb2.Anomalies.FromString(io_utils.read_bytes_file(path))
        for feature, info in sorted(recorded.anomaly_info.items()):
            reasons = [reason.description for reason in info.reason] or [info.description]
            for reason in reasons:
                yield Anomaly(gate, split, feature, _in_words(gate, reason))
        if recorded.HasField("dataset_anomaly_info"):
            for reason in recorded.dataset_anomaly_info.reason:
                yield Anomaly(gate, split, "", reason.description)
        if recorded.data_missing:
            yield Anomaly(gate, split, "", "there are no examples")


def _in_words(gate: str, reason: str) -> str:
    """TFDV's reason, with what is compared in the place of its "current" and "previous"."""
    compared = {
        CLASS_BALANCE: "the split and the expected shares",
        SKEW: "the split and train",
        DRIFT: "the split and the one that was accepted last",
    }.get(gate)
    said = reason.rstrip(".").replace("current and previous", compared or "current and previous")
    if gate == DRIFT:
        said += "; a drift that was meant is let pass once by validation.max_drift=report"
    return said
