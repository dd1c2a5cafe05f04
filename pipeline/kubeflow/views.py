"""The outputs that Kubeflow's UI shows of a node, made from the node's TFX artifacts.

`VIEWS` is the table: to show more, add a line. The compiler reads it to declare the outputs, and
the container to write them; also after a TFX cache hit, with the artifacts of the earlier run.
"""

from __future__ import annotations

import functools
import json
import posixpath
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from kfp import dsl
from tfx.dsl.io import fileio
from tfx.types.artifact import Artifact

from components import run_report
from components.evaluation import results
from components.names.artifact_properties import REASON
from components.names.node_ids import NodeId
from components.validation import anomalies
from components.validation.anomalies import Check
from trainer import features

Artifacts = Mapping[str, list[Artifact]]


class View(NamedTuple):
    """One KFP output of a node's task."""

    name: str
    kind: type[dsl.Artifact]
    fill: Callable[[Artifacts, Any], None]
    """Fills a KFP artifact of that kind, its metadata or the file at its path."""


def write(node_id: str, artifacts: Artifacts, paths: Mapping[str, Path], output_file: Path) -> None:
    """Writes a node's views according to KFP's container contract.

    Args:
      node_id: the node.
      artifacts: its TFX output artifacts, by key.
      paths: the path of each view's file, by the view's name.
      output_file: the file that KFP reads the metadata of the outputs from, JSON.
    """
    outputs = {}
    for view in VIEWS.get(node_id, ()):
        shown = view.kind(name=view.name)
        shown.custom_path = str(paths[view.name])
        Path(shown.path).parent.mkdir(parents=True, exist_ok=True)
        view.fill(artifacts, shown)
        outputs[view.name] = {"artifacts": [{"name": view.name, "metadata": shown.metadata}]}
    output_file.parent.mkdir(parents=True, exist_ok=True)
    output_file.write_text(json.dumps({"artifacts": outputs}), encoding="utf-8")


def _anomalies(check: Check, artifacts: Artifacts, page: dsl.Markdown) -> None:
    (artifact,) = artifacts["anomalies"]
    found = anomalies.read(artifact, check)
    lines = [f"| {a.split} | {a.feature or '-'} | {a.reason} |" for a in found]
    table = ["| split | feature | anomaly |", "|---|---|---|", *lines]
    _write(page, table if lines else ["No anomalies were found."])


def _metrics(artifacts: Artifacts, metrics: dsl.Metrics) -> None:
    evaluation = results.read(_evaluation_uri(artifacts))
    overall = evaluation.overall.candidate
    metrics.log_metric("accuracy", overall.accuracy)
    metrics.log_metric("loss", overall.loss)
    metrics.log_metric("calibration_error", overall.calibration_error)
    metrics.log_metric("test_images", overall.examples)
    for digit, accuracy in evaluation.digit_accuracy.items():
        metrics.log_metric(f"accuracy_of_{digit}", accuracy)


def _confusion_matrix(artifacts: Artifacts, metrics: dsl.ClassificationMetrics) -> None:
    matrix = results.read_confusion_matrix(_evaluation_uri(artifacts))
    metrics.log_confusion_matrix(list(features.CLASS_NAMES), matrix.tolist())


def _verdict(artifacts: Artifacts, page: dsl.Markdown) -> None:
    rejections = results.read(_evaluation_uri(artifacts)).rejections
    lines = ["The model was rejected:", "", *(f"- {rejection}" for rejection in rejections)]
    _write(page, lines if rejections else ["The model was blessed: all gates passed."])


def _report(artifacts: Artifacts, page: dsl.HTML) -> None:
    (report,) = artifacts[run_report.REPORT]
    fileio.copy(posixpath.join(report.uri, run_report.FILE), page.path, overwrite=True)


def _served(artifacts: Artifacts, page: dsl.Markdown) -> None:
    (blessing,) = artifacts["blessing"]
    reason = blessing.get_string_custom_property(REASON)
    blessed = "The model was blessed: a model server gives the same answers, fast enough."
    _write(page, ["The model was rejected:", "", f"- {reason}"] if reason else [blessed])


def _evaluation_uri(artifacts: Artifacts) -> str:
    (found,) = artifacts["evaluation"]
    return str(found.uri)


def _write(page: dsl.Artifact, lines: list[str]) -> None:
    Path(page.path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _view_of(check: Check) -> tuple[View, ...]:
    return (View("anomalies", dsl.Markdown, functools.partial(_anomalies, check)),)


VIEWS: Final[Mapping[str, tuple[View, ...]]] = {
    NodeId.EXAMPLE_VALIDATOR: _view_of(Check.SCHEMA),
    NodeId.BALANCE_VALIDATOR: _view_of(Check.CLASS_BALANCE),
    NodeId.SKEW_VALIDATOR: _view_of(Check.SKEW),
    NodeId.DRIFT_VALIDATOR: _view_of(Check.DRIFT),
    NodeId.IMAGE_VALIDATOR: _view_of(Check.IMAGES),
    NodeId.EVALUATOR: (
        View("metrics", dsl.Metrics, _metrics),
        View("confusion_matrix", dsl.ClassificationMetrics, _confusion_matrix),
        View("verdict", dsl.Markdown, _verdict),
    ),
    NodeId.RUN_REPORT: (View("page", dsl.HTML, _report),),
    NodeId.SERVER_VALIDATOR: (View("verdict", dsl.Markdown, _served),),
}
