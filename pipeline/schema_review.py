"""A corrected schema, for review: what `mnist-tfx schema` shows and writes.

Data that was stopped may be right, and the schema out of date. TensorFlow Data Validation says
how the schema would have to be for the last run's data; a person decides. The reviewed file keeps
its comments, and everything that need not change.
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

from pipeline.config import REPORT, PipelineConfig
from pipeline.errors import PipelineError
from pipeline.lineage import Lineage
from pipeline.workspace import Workspace
from trainer import features

_BLOCK = re.compile(r"^feature \{\n.*?^\}\n", re.MULTILINE | re.DOTALL)


class Review(NamedTuple):
    """What would have to change for the data of a run to pass."""

    before: str
    """The reviewed schema's text."""

    after: str
    """The corrected one's; the same where nothing has to change."""

    class_balance: tuple[float, ...] | None
    """The training data's shares, where they are too far from the configuration's."""

    data: str
    """Which data it was, for people."""

    @property
    def diff(self) -> str:
        """What changes, as a unified diff; empty where nothing does."""
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
      PipelineError: no run of this pipeline has statistics of its data.
    """
    lineage = Lineage.of_file(workspace.metadata) if workspace.metadata.exists() else None
    found = lineage.made_by(config.name, "StatisticsGen", "ExampleStatistics") if lineage else []
    if not found:
        raise PipelineError(
            f"no run of {config.name} in {workspace.root} has looked at data: start one with "
            "mnist-tfx run, or name another folder with --root."
        )
    statistics = {
        path.parent.name.removeprefix("Split-"): tfdv.load_stats_binary(str(path))
        for path in sorted(Path(found[-1].uri).glob("Split-*/FeatureStats.pb"))
    }
    if not statistics:
        raise PipelineError(f"{found[-1].uri} has no statistics any more: run the pipeline again.")
    text = config.validation.schema_text
    return Review(
        before=text,
        after=corrected(text, list(statistics.values())),
        class_balance=_class_balance(config, statistics),
        data=f"statistics {found[-1].id}, of {', '.join(statistics)}",
    )


def corrected(text: str, statistics: Sequence[statistics_pb2.DatasetFeatureStatisticsList]) -> str:
    """The schema's text, changed where it does not fit the statistics.

    A feature that changes is written anew; comments within it are kept before it.
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
        comments = re.findall(r"^\s*(#.*)\n", block, re.MULTILINE)
        return "".join(f"{comment}\n" for comment in comments) + _print(new[parsed.name])

    added = [feature for name, feature in new.items() if name not in old]
    return _BLOCK.sub(rewrite, text) + "".join(map(_print, added))


def write(corrected_schema: str, path: Path, overwrite: bool) -> None:
    """Writes a schema file whole or not at all.

    Raises:
      PipelineError: there is such a file, and it may not be overwritten; or it cannot be written.
    """
    if path.exists() and not overwrite:
        raise PipelineError(
            f"{path} is there already: name another file, or say --force to overwrite it."
        )
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(corrected_schema, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise PipelineError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        partial.unlink(missing_ok=True)


def _print(feature: schema_pb2.Feature) -> str:
    body = text_format.MessageToString(feature, indent=2)
    return f"feature {{\n{body}}}\n"


def _class_balance(
    config: PipelineConfig, statistics: dict[str, statistics_pb2.DatasetFeatureStatisticsList]
) -> tuple[float, ...] | None:
    limit = config.validation.max_share_change
    (dataset,) = statistics["train"].datasets
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
