"""What the Kubeflow UI shows of a node, made from the node's TFX artifacts.

`VIEWS` is the table: to show something more, add a line. It is looked at when the
pipeline is compiled, to declare the outputs, and in the container, to write them; after
a TFX cache hit as well, since the artifacts are then those of the earlier run.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from kfp import dsl
from tfx.dsl.io import fileio
from tfx.types.artifact import Artifact

from components import anomaly_gate, evaluation_results, run_report, server_validator
from trainer import features

Artifacts = Mapping[str, list[Artifact]]


class View(NamedTuple):
    """One KFP output of a node's task."""

    name: str
    kind: type[dsl.Artifact]
    fill: Callable[[Artifacts, Any], None]
    """Fills a KFP artifact of that kind, its metadata or the file at its path."""


def write(node_id: str, artifacts: Artifacts, paths: Mapping[str, Path], output_file: Path) -> None:
    """Writes a node's views as KFP's container contract says.

    Args:
      node_id: the node.
      artifacts: its TFX output artifacts, by key.
      paths: where the file of each view goes, by the view's name.
      output_file: where KFP reads the metadata of the outputs, as JSON.
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


def _anomalies(artifacts: Artifacts, page: dsl.Markdown) -> None:
    (found,) = artifacts["anomalies"]
    anomalies = anomaly_gate.read_anomalies(found, "")
    lines = [f"| {a.split} | {a.feature or '-'} | {a.reason} |" for a in anomalies]
    table = ["| split | feature | what is wrong |", "|---|---|---|", *lines]
    _write(page, table if lines else ["No anomalies were found."])


def _metrics(artifacts: Artifacts, metrics: dsl.Metrics) -> None:
    found = evaluation_results.read(_evaluation_uri(artifacts))
    overall = found.overall.candidate
    metrics.log_metric("accuracy", overall.accuracy)
    metrics.log_metric("loss", overall.loss)
    metrics.log_metric("calibration_error", overall.calibration_error)
    metrics.log_metric("test_images", overall.examples)
    for digit, accuracy in found.digit_accuracy.items():
        metrics.log_metric(f"accuracy_of_{digit}", accuracy)


def _confusion_matrix(artifacts: Artifacts, metrics: dsl.ClassificationMetrics) -> None:
    matrix = evaluation_results.read_confusion_matrix(_evaluation_uri(artifacts))
    metrics.log_confusion_matrix(list(features.CLASS_NAMES), matrix.tolist())


def _verdict(artifacts: Artifacts, page: dsl.Markdown) -> None:
    refusals = evaluation_results.read(_evaluation_uri(artifacts)).refusals
    lines = ["The model was refused:", "", *(f"- {refusal}" for refusal in refusals)]
    _write(page, lines if refusals else ["The model was blessed: every threshold was reached."])


def _report(artifacts: Artifacts, page: dsl.HTML) -> None:
    (found,) = artifacts["report"]
    fileio.copy(posixpath.join(found.uri, run_report.FILE), page.path, overwrite=True)


def _served(artifacts: Artifacts, page: dsl.Markdown) -> None:
    (blessing,) = artifacts["blessing"]
    reason = blessing.get_string_custom_property(server_validator.REASON)
    well = "A model server answers as the model does, and fast enough."
    _write(page, ["The model was refused:", "", f"- {reason}"] if reason else [well])


def _evaluation_uri(artifacts: Artifacts) -> str:
    (found,) = artifacts["evaluation"]
    return str(found.uri)


def _write(page: dsl.Artifact, lines: list[str]) -> None:
    Path(page.path).write_text("\n".join(lines) + "\n", encoding="utf-8")


VIEWS: Final[Mapping[str, tuple[View, ...]]] = {
    "ExampleValidator": (View("anomalies", dsl.Markdown, _anomalies),),
    "BalanceValidator": (View("anomalies", dsl.Markdown, _anomalies),),
    "SkewValidator": (View("anomalies", dsl.Markdown, _anomalies),),
    "DriftValidator": (View("anomalies", dsl.Markdown, _anomalies),),
    "ImageValidator": (View("anomalies", dsl.Markdown, _anomalies),),
    "Evaluator": (
        View("metrics", dsl.Metrics, _metrics),
        View("confusion_matrix", dsl.ClassificationMetrics, _confusion_matrix),
        View("verdict", dsl.Markdown, _verdict),
    ),
    "RunReport": (View("page", dsl.HTML, _report),),
    "ServerValidator": (View("verdict", dsl.Markdown, _served),),
}
