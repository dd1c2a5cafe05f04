"""AnomalyGate: stops the run when data validation found anomalies, saying which.

TFX's validators only record what they find; nothing downstream looks at it. This
component fails on any anomaly, so that whatever waits for it never starts.
"""

# No `from __future__ import annotations`: the decorator reads the annotations as objects.

import posixpath
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.dsl.component.experimental.annotations import InputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts
from tfx.types.artifact import Artifact
from tfx.utils import io_utils

ANOMALIES_FILE = "SchemaDiff.pb"  # the name that TFX's validators write


class Anomaly(NamedTuple):
    """One reason why a split is not what the schema or the baseline says."""

    split: str
    feature: str  # empty for an anomaly of the whole split
    reason: str

    def __str__(self) -> str:
        where = f"{self.split}, {self.feature}" if self.feature else self.split
        return f"{where}: {self.reason}"


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
    schema_anomalies: InputArtifact[standard_artifacts.ExampleAnomalies],
    distribution_anomalies: InputArtifact[standard_artifacts.ExampleAnomalies],
    code_digest: Parameter[str],
) -> None:
    """Raises AnomaliesFoundError unless both validators found nothing.

    Args:
      schema_anomalies: what ExampleValidator found.
      distribution_anomalies: what DistributionValidator found.
      code_digest: identifies the code, see `IdxExampleGen`.
    """
    found = [*read_anomalies(schema_anomalies), *read_anomalies(distribution_anomalies)]
    if found:
        count = f"{len(found)} anomal{'y' if len(found) == 1 else 'ies'}"
        raise AnomaliesFoundError(f"the data has {count}: {'; '.join(map(str, found))}", found)


def read_anomalies(artifact: Artifact) -> Iterator[Anomaly]:
    """What a validator recorded, in the order of the splits' names.

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
            yield from (Anomaly(split, feature, reason) for reason in reasons)
        if recorded.HasField("dataset_anomaly_info"):
            for reason in recorded.dataset_anomaly_info.reason:
                yield Anomaly(split, "", reason.description)
        if recorded.data_missing:
            yield Anomaly(split, "", "there are no examples")
