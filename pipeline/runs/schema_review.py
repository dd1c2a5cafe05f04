"""A corrected schema for review: `mnist-tfx schema`.

Rejected data may be correct, and the schema out of date. TensorFlow Data Validation computes how
the schema must change for the last run's data to pass; a person decides. The corrected file keeps
its comments and everything that need not change.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from components.names.node_ids import NodeId
from components.names.splits import TRAIN
from pipeline.runs.lineage import Lineage
from pipeline.runs.workspace import Workspace
from pipeline.settings.errors import PipelineError
from pipeline.settings.pipeline_config import REPORT, PipelineConfig
from trainer import features

_BLOCK = re.compile(r"^feature \{\n.*?^\}\n", re.MULTILINE | re.DOTALL)


class Review(NamedTuple):
    """The changes that the data of a run needs to pass."""

    before: str
    """The reviewed schema's text."""

    after: str
    """The text of the corrected schema; the same if nothing has to change."""

    class_balance: tuple[float, ...] | None
    """The shares of the classes in the training data, if they differ too much from the
    configuration's."""

    data: str
    """A description of the data."""

    @property
    def diff(self) -> str:
        """The changes as a unified diff; empty without changes."""
        lines = difflib.unified_diff(
            self.before.splitlines(keepends=True),
            self.after.splitlines(keepends=True),
            "reviewed",
            "corrected",
        )
        return "".join(lines)


def review(config: PipelineConfig, workspace: Workspace) -> Review:
    """Compares the configuration's expectations with the data of the last run.

    Raises:
      PipelineError: there are no statistics of a run of this pipeline.
    """
    lineage = Lineage.of_workspace(workspace)
    found = (
        lineage.made_by(config.name, NodeId.STATISTICS_GEN, "ExampleStatistics") if lineage else []
    )
    if not found:
        raise PipelineError(
            f"{workspace.root} contains no statistics of a run of {config.name}; start one "
            "with `mnist-tfx run`, or choose another folder with --root."
        )
    statistics = {
        path.parent.name.removeprefix("Split-"): tfdv.load_stats_binary(str(path))
        for path in sorted(Path(found[-1].uri).glob("Split-*/FeatureStats.pb"))
    }
    if not statistics:
        raise PipelineError(
            f"the statistics in {found[-1].uri} were deleted; run the pipeline again."
        )
    text = config.validation.schema_text
    return Review(
        before=text,
        after=corrected(text, list(statistics.values())),
        class_balance=_class_balance(config, statistics),
        data=f"statistics {found[-1].id}, of {', '.join(statistics)}",
    )


def corrected(text: str, statistics: Sequence[statistics_pb2.DatasetFeatureStatisticsList]) -> str:
    """The text of the schema, corrected where it does not fit the statistics.

    If only bounds change, only these numbers do. Another feature that changes is rewritten;
    comments within it are moved before it.
    """
    before = text_format.Parse(text, schema_pb2.Schema())
    after = before
    for split in statistics:
        after = tfdv.update_schema(after, split)
    new = {feature.name: feature for feature in after.feature}
    old = {feature.name: feature for feature in before.feature}

    def rewrite(match: re.Match[str]) -> str:
        block = match.group()
        parsed = text_format.Parse(block, schema_pb2.Schema()).feature[0]
        if new[parsed.name] == old[parsed.name]:
            return block
        if (with_bounds := _with_bounds(block, new[parsed.name])) is not None:
            return with_bounds
        comments = re.findall(r"^\s*(#.*)\n", block, re.MULTILINE)
        return "".join(f"{comment}\n" for comment in comments) + _print(new[parsed.name])

    added = [feature for name, feature in new.items() if name not in old]
    return _BLOCK.sub(rewrite, text) + "".join(map(_print, added))


def _with_bounds(block: str, feature: schema_pb2.Feature) -> str | None:
    """The text of a feature with the bounds of `feature`; None if more than these differ."""
    domain = feature.WhichOneof("domain_info")
    head, found, text = block.partition(f"{domain} {{")
    if domain is None or not found:
        return None
    printed = text_format.MessageToString(getattr(feature, domain))
    for name, value in re.findall(r"^(min|max): (\S+)$", printed, re.MULTILINE):
        text = re.sub(rf"\b{name}: \S+", f"{name}: {value}", text, count=1)
    new = head + found + text
    return new if text_format.Parse(new, schema_pb2.Schema()).feature[0] == feature else None


def write(corrected_schema: str, path: Path, overwrite: bool) -> None:
    """Writes a schema file completely or not at all.

    Raises:
      PipelineError: the file exists and `overwrite` is not set, or it cannot be written.
    """
    if path.exists() and not overwrite:
        raise PipelineError(f"{path} exists; choose another file, or overwrite it with --force.")
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(corrected_schema, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise PipelineError(f"cannot write {path}: {error.strerror}.") from error
    finally:
        partial.unlink(missing_ok=True)


def _print(feature: schema_pb2.Feature) -> str:
    body = text_format.MessageToString(feature, indent=2)
    return f"feature {{\n{body}}}\n"


def _class_balance(
    config: PipelineConfig, statistics: dict[str, statistics_pb2.DatasetFeatureStatisticsList]
) -> tuple[float, ...] | None:
    limit = config.validation.max_share_change
    (dataset,) = statistics[TRAIN].datasets
    labels = next(f for f in dataset.features if f.path.step[0] == features.LABEL)
    counts = dict.fromkeys(features.CLASS_NAMES, 0.0)
    for bucket in labels.string_stats.rank_histogram.buckets:
        if bucket.label in counts:
            counts[bucket.label] = bucket.sample_count
    total = sum(counts.values())
    if limit == REPORT or not total:
        return None
    shares = tuple(round(count / total, 4) for count in counts.values())
    furthest = max(
        abs(share - expected)
        for share, expected in zip(shares, config.validation.class_balance, strict=True)
    )
    return shares if furthest > limit else None
