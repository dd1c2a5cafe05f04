"""The end of a local run: its outcome, its report, the model card of the pushed version."""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Mapping
from pathlib import Path

from tfx.orchestration import metadata
from tfx.proto.orchestration import pipeline_pb2

from components import run_report
from components.evaluation import results
from components.names.artifact_properties import (
    ADOPTED,
    LATENCY_P99_MS,
    PUSHED_DESTINATION,
    SERVER,
)
from components.names.node_ids import NodeId
from components.report import model_card, outcome, wording
from pipeline.local import machine
from pipeline.local.runner import Job
from pipeline.runs import events, executions
from pipeline.runs.workspace import Workspace
from serving import version_folders


class NodesEnded(logging.Handler):
    """Keeps the events of the nodes that ended."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes: dict[str, events.NodeChanged] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the event of a record, if a node ended."""
        values = getattr(record, "event", {})
        if values.get("kind") == "node" and values["state"] != "running":
            self.nodes[values["node"]] = events.NodeChanged(**values)


def complete(
    job: Job,
    handle: metadata.Metadata,
    nodes: Mapping[str, pipeline_pb2.PipelineNode],
    workspace: Workspace,
    ended: Mapping[str, events.NodeChanged],
) -> events.Outcome:
    """The outcome of a run; writes its report, and the model card of a new version.

    Args:
      job: the job.
      handle: the metadata store.
      nodes: the nodes of the pipeline.
      workspace: where to write.
      ended: the last event of each node that ended.
    """
    evaluation = results.read(executions.output(handle, nodes[NodeId.EVALUATOR], "evaluation").uri)
    overall, champion = evaluation.overall.candidate, evaluation.overall.champion
    pusher = nodes[NodeId.ATOMIC_PUSHER]
    pushed = executions.output(handle, pusher, "pushed_model")
    destination = pushed.get_string_custom_property(PUSHED_DESTINATION)
    rejections = executions.rejections(handle, pusher)
    page = executions.output(handle, nodes[NodeId.RUN_REPORT], run_report.REPORT)
    validated = executions.output(handle, nodes[NodeId.SERVER_VALIDATOR], "blessing")
    class_names = job.config.data.class_names
    pushing = ended.get(NodeId.ATOMIC_PUSHER)
    is_adopted = bool(pushed.get_int_custom_property(ADOPTED))
    end = outcome.RunEnd(
        pushed=posixpath.basename(destination) if executions.is_pushed(pushed) else None,
        is_new=pushing is not None and pushing.state == "done" and not is_adopted,
        rejections=[wording.named(class_names, rejection) for rejection in rejections],
        server=validated.get_string_custom_property(SERVER),
        latency_p99_ms=validated.get_float_custom_property(LATENCY_P99_MS) or None,
        nodes=[_node_run(node, ended.get(node.node_info.id)) for node in nodes.values()],
        facts=machine.facts(),
    )
    return events.Outcome(
        test_images=overall.examples,
        accuracy=overall.accuracy,
        loss=overall.loss,
        calibration_error=overall.calibration_error,
        accuracy_change=overall.accuracy - champion.accuracy if champion else None,
        gates_off=tuple(job.config.gates_off()),
        digit_accuracy={
            class_names[int(digit)]: accuracy
            for digit, accuracy in evaluation.digit_accuracy.items()
        },
        rejections=tuple(end.rejections),
        pushed=destination if executions.is_pushed(pushed) else None,
        is_new_version=not is_adopted,
        artifacts=str(workspace.artifacts),
        tensorboard=executions.output(handle, nodes[NodeId.TRAINER], "model_run").uri,
        report=_write_pages(
            Path(page.uri), workspace.run_folder(job.run_id), Path(destination), end
        ),
    )


def _write_pages(source: Path, folder: Path, version: Path, end: outcome.RunEnd) -> str | None:
    """Writes the report of the run, and the model card of a new version.

    The model is served already. A page that cannot be written, because the disk is full, must not
    make a failure of the run.

    Returns:
      The report; None if it could not be written.
    """
    report = folder / run_report.FILE
    try:
        text = (source / run_report.FILE).read_text(encoding="utf-8")
        report.write_text(outcome.complete(text, end), encoding="utf-8")
        if end.pushed and end.is_new:
            _write_cards(source, version)
    except OSError:
        logging.exception("The report of the run cannot be written.")
        return None
    return str(report)


def _write_cards(report: Path, version: Path) -> None:
    """Puts the model card beside the version that was pushed."""
    folder = version_folders.cards_folder(version.parent)
    folder.mkdir(exist_ok=True)
    for name in (model_card.MARKDOWN, model_card.HTML):
        card = model_card.with_version((report / name).read_text(encoding="utf-8"), version.name)
        path = (folder / version.name).with_suffix(Path(name).suffix)
        path.write_text(card, encoding="utf-8")


def _node_run(node: pipeline_pb2.PipelineNode, ended: events.NodeChanged | None) -> outcome.NodeRun:
    name = node.node_info.id
    state = "waiting" if ended is None else "rejected" if ended.rejections else ended.state
    seconds = ended.seconds if ended else 0.0
    return outcome.NodeRun(name, state, seconds, list(node.upstream_nodes))
