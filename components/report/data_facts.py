"""The data of a run: how many images, of what, and what each check of them found."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact
from tfx.utils import io_utils

from components import anomaly_gate, image_validator, ingested
from components.accepted_spans import span
from components.idx_example_gen import EVAL, TEST, TRAIN
from trainer import features

_SAMPLES_EACH: Final = 12  # images of each digit that are shown


@dataclass(frozen=True)
class Check:
    """One measured value."""

    gate: str
    what: str
    value: float | None
    """None where there was nothing to measure."""

    limit: float | None
    """None where the value is only reported."""

    is_lower_bound: bool = False

    @property
    def shown(self) -> str:
        """The value; a dash where there is none."""
        if self.value is None:
            return "-"
        return str(self.value) if isinstance(self.value, int) else f"{self.value:.4f}"

    @property
    def passed(self) -> bool:
        """Whether the value is within the limit."""
        if self.limit is None or self.value is None:
            return True
        return self.value >= self.limit if self.is_lower_bound else self.value <= self.limit


@dataclass(frozen=True)
class SplitFacts:
    """One split, as StatisticsGen has it."""

    images: int
    shares: NDArray[np.float64]
    """[10], of each class."""

    brightness: tuple[NDArray[np.float64], NDArray[np.float64]]
    """The mean pixel of an image, 0 to 255: the edges of bins [n + 1], the share in each [n]."""

    mean_brightness: float
    std_brightness: float


@dataclass(frozen=True)
class DataFacts:
    """All that the report says of the data."""

    splits: dict[str, SplitFacts]
    samples: NDArray[np.uint8]
    """Images of the training data: [10, n, 28, 28], a row for each digit; black where missing."""

    checks: tuple[Check, ...]
    anomalies: tuple[str, ...]
    span: int
    trained_spans: tuple[int, ...]
    compared_with: int | None
    """The span that drift is measured from; None where the data was compared with itself."""


def gather(
    examples: Artifact,
    window: list[Artifact],
    reference: Artifact,
    statistics: Artifact,
    anomalies: Mapping[str, Artifact],
    limits: Mapping[str, Any],
) -> DataFacts:
    """Reads the artifacts.

    Args:
      examples: this run's.
      window: all that was trained on.
      reference: what this run's data was compared with.
      statistics: of this run's data.
      anomalies: what each validator found, by its name in words (components/anomaly_gate.py).
      limits: the section `validation` of the configuration.
    """
    names = artifact_utils.decode_split_names(statistics.split_names)
    order = sorted(names, key=(TRAIN, EVAL, TEST).index)
    return DataFacts(
        splits={
            name: _split(stats_artifact_utils.load_statistics(statistics, name).proto())
            for name in order
        },
        samples=_samples(ingested.read(examples, TRAIN)),
        checks=tuple(_checks(anomalies, limits, has_reference=reference.id != examples.id)),
        anomalies=tuple(
            str(found)
            for gate, artifact in anomalies.items()
            for found in anomaly_gate.read_anomalies(artifact, gate)
        ),
        span=span(examples),
        trained_spans=tuple(span(artifact) for artifact in window),
        compared_with=None if reference.id == examples.id else span(reference),
    )


def _split(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> SplitFacts:
    (dataset,) = statistics.datasets
    by_name = {feature.path.step[0]: feature for feature in dataset.features}
    counts = np.zeros(features.NUM_CLASSES)
    for bucket in by_name[features.LABEL].string_stats.rank_histogram.buckets:
        counts[int(bucket.label)] = bucket.sample_count
    brightness = by_name[features.PIXEL_MEAN].num_stats
    histogram = brightness.histograms[0].buckets
    edges = [histogram[0].low_value, *(bucket.high_value for bucket in histogram)]
    inside = np.array([bucket.sample_count for bucket in histogram])
    return SplitFacts(
        images=int(dataset.num_examples),
        shares=counts / counts.sum(),
        brightness=(np.array(edges), inside / inside.sum()),
        mean_brightness=brightness.mean,
        std_brightness=brightness.std_dev,
    )


def _samples(train: ingested.Split) -> NDArray[np.uint8]:
    shape = (features.NUM_CLASSES, _SAMPLES_EACH, features.HEIGHT_PX, features.WIDTH_PX)
    samples = np.zeros(shape, np.uint8)
    for digit in range(features.NUM_CLASSES):
        chosen = train.take(np.flatnonzero(train.labels == digit)[:_SAMPLES_EACH]).images
        samples[digit, : len(chosen)] = chosen
    return samples


def _checks(
    anomalies: Mapping[str, Artifact], limits: Mapping[str, Any], has_reference: bool
) -> Iterator[Check]:
    for gate, limit in (
        (anomaly_gate.CLASS_BALANCE, limits["max_share_change"]),
        (anomaly_gate.SKEW, limits["max_skew"]),
        (anomaly_gate.DRIFT, limits["max_drift"]),
    ):
        if gate == anomaly_gate.DRIFT and not has_reference:
            continue
        artifact = anomalies[gate]
        for folder in sorted(name.rstrip("/") for name in fileio.listdir(artifact.uri)):
            path = posixpath.join(artifact.uri, folder, anomaly_gate.ANOMALIES_FILE)
            if not fileio.exists(path):
                continue
            split, _, base = folder.partition("-")[2].partition("_")
            compared = split if base == split else f"{split} and {base}"
            found = anomalies_pb2.Anomalies.FromString(io_utils.read_bytes_file(path))
            for info in found.drift_skew_info:
                for measured in info.drift_measurements:
                    what = f"{_WORDS.get(info.path.step[0], info.path.step[0])}, {compared}"
                    yield Check(gate, what, measured.value, _limit(limit))
    artifact = anomalies[anomaly_gate.IMAGES]
    path = posixpath.join(artifact.uri, image_validator.MEASURES_FILE)
    measures = json.loads(io_utils.read_string_file(path))
    for split, count in measures["duplicates"].items():
        what = f"images of {split} that are trained on"
        yield Check(anomaly_gate.IMAGES, what, count, _limit(limits["max_duplicates"]))
    for split, share in measures["label_agreement"].items():
        limit = _limit(limits["min_label_agreement"])
        what = f"images that look most like their own class, {split}"
        yield Check(anomaly_gate.IMAGES, what, share, limit, is_lower_bound=True)


_WORDS: Final = {features.LABEL: "labels", features.PIXEL_MEAN: "brightness"}


def _limit(limit: float | str) -> float | None:
    return None if isinstance(limit, str) else limit
