"""The data of a run: the images of each split, and the result of each check."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact
from tfx.utils import io_utils

from components.images import example_split
from components.images.example_split import ExampleSplit
from components.names.splits import SPLITS, TRAIN
from components.validation import anomalies as recorded_anomalies
from components.validation import image_checks
from components.validation.anomalies import Check
from trainer import features

_SAMPLES_EACH: Final = 12  # images of each digit that are shown
_FEATURE_LABELS: Final = {features.LABEL: "labels", features.PIXEL_MEAN: "brightness"}


@dataclass(frozen=True)
class Measurement:
    """One measured value of a check."""

    check: str
    title: str
    value: float | None
    """None if it is undefined."""

    limit: float | None
    """None if the value is only reported."""

    is_lower_bound: bool = False

    @property
    def shown(self) -> str:
        """The value, formatted; a dash if there is none."""
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
    """One split, from StatisticsGen."""

    images: int
    shares: NDArray[np.float64]
    """[10], of each class."""

    brightness: tuple[NDArray[np.float64], NDArray[np.float64]]
    """The histogram of an image's mean pixel, 0 to 255: bin edges [n + 1], shares [n]."""

    mean_brightness: float
    std_brightness: float


@dataclass(frozen=True)
class DataFacts:
    """The facts of the section about data."""

    splits: dict[str, SplitFacts]
    samples: NDArray[np.uint8]
    """Training images, [10, n, 28, 28]: a row for each digit; black where there are too few."""

    measurements: tuple[Measurement, ...]
    anomalies: tuple[str, ...]
    span: int
    trained_spans: tuple[int, ...]
    reference_span: int | None
    """The span that drift is measured from; None if the data was compared with itself."""


def gather(
    examples: Artifact,
    window: Sequence[Artifact],
    reference: Artifact,
    statistics: Artifact,
    anomalies: Mapping[Check, Artifact],
    limits: Mapping[str, Any],
) -> DataFacts:
    """Reads the artifacts (`ReportArtifacts`); `limits` is the configuration's `validation`."""
    names = artifact_utils.decode_split_names(statistics.split_names)
    has_reference = reference.id != examples.id
    return DataFacts(
        splits={
            name: _split(stats_artifact_utils.load_statistics(statistics, name).proto())
            for name in sorted(names, key=SPLITS.index)
        },
        samples=_samples(example_split.blocks(examples, TRAIN)),
        measurements=(
            *_distances(anomalies, limits, has_reference),
            *_image_measures(anomalies[Check.IMAGES], limits),
        ),
        anomalies=tuple(
            str(anomaly)
            for check, artifact in anomalies.items()
            for anomaly in recorded_anomalies.read(artifact, check)
        ),
        span=example_split.span(examples),
        trained_spans=tuple(example_split.span(artifact) for artifact in window),
        reference_span=example_split.span(reference) if has_reference else None,
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


def _samples(blocks: Iterable[ExampleSplit]) -> NDArray[np.uint8]:
    """The first images of each digit in the IDX file."""
    shape = (features.NUM_CLASSES, _SAMPLES_EACH, features.HEIGHT_PX, features.WIDTH_PX)
    samples = np.zeros(shape, np.uint8)
    first: dict[int, list[tuple[int, bytes]]] = {digit: [] for digit in range(len(samples))}
    for block in blocks:
        found = zip(block.labels.tolist(), block.indices.tolist(), block.pixels, strict=True)
        for digit, index, pixels in found:
            if digit in first:
                first[digit].append((index, pixels))
        first = {digit: sorted(images)[:_SAMPLES_EACH] for digit, images in first.items()}
    for digit, images in first.items():
        for position, (_, pixels) in enumerate(images):
            samples[digit, position] = np.frombuffer(pixels, np.uint8).reshape(shape[2:])
    return samples


def _distances(
    anomalies: Mapping[Check, Artifact], limits: Mapping[str, Any], has_reference: bool
) -> Iterator[Measurement]:
    """The distances that DistributionValidator measured."""
    limit_of = {
        Check.CLASS_BALANCE: limits["max_share_change"],
        Check.SKEW: limits["max_skew"],
        Check.DRIFT: limits["max_drift"],
    }
    for check, limit in limit_of.items():
        if check is Check.DRIFT and not has_reference:
            continue
        for split, compared, recorded in recorded_anomalies.read_protos(anomalies[check]):
            where = split if compared == split else f"{split} and {compared}"
            for info in recorded.drift_skew_info:
                feature = info.path.step[0]
                for measured in info.drift_measurements:
                    title = f"{_FEATURE_LABELS.get(feature, feature)}, {where}"
                    yield Measurement(check, title, measured.value, _limit(limit))


def _image_measures(anomalies: Artifact, limits: Mapping[str, Any]) -> Iterator[Measurement]:
    """What ImageValidator measured."""
    path = posixpath.join(anomalies.uri, image_checks.MEASURES_FILE)
    measures = json.loads(io_utils.read_string_file(path))
    for split, count in measures["duplicates"].items():
        title = f"duplicates of training images, {split}"
        yield Measurement(Check.IMAGES, title, count, _limit(limits["max_duplicates"]))
    for split, share in measures["label_agreement"].items():
        limit = _limit(limits["min_label_agreement"])
        title = f"label agreement, {split}"
        yield Measurement(Check.IMAGES, title, share, limit, is_lower_bound=True)


def _limit(limit: float | str) -> float | None:
    return None if isinstance(limit, str) else limit
