"""The last task of a run, if the cluster file has a webhook: tells a web service how it ended.

    python -m pipeline.kubeflow.run_notice --pipeline NAME --run-id RUN --endings FOLDER ...

Kubeflow starts it as its exit handler, also if a task failed. Each task keeps how its node ended in
a file; a task without one was killed, or did not start. (Kubeflow could tell the exit handler the
state of the run, but asks ML Metadata for it with a query that not every server of it supports.)
"""

from __future__ import annotations

import argparse
import logging
import os
import posixpath
from collections.abc import Sequence
from typing import NamedTuple

from tfx.dsl.io import fileio
from tfx.orchestration import metadata
from tfx.types import standard_component_specs as specs

from components.evaluation import results
from components.names.artifact_properties import ADOPTED, PUSHED_DESTINATION
from components.names.node_ids import NodeId
from components.run_report import REPORT
from pipeline.kubeflow import metadata_store, node_slice
from pipeline.runs import executions, verdict, webhook
from pipeline.runs.events import NodeChanged
from pipeline.runs.webhook import Notice
from pipeline.settings.errors import ExitCode

READ_NODES = (NodeId.EVALUATOR, NodeId.RUN_REPORT, NodeId.ATOMIC_PUSHER)
"""The nodes whose artifacts a notice names."""


class Results(NamedTuple):
    """What a run produced; None for what it did not reach."""

    accuracy: float | None = None
    accuracy_change: float | None = None
    report: str | None = None
    version: int | None = None
    """The pushed version, unless it was served before."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Sends the notice. The exit code is 0 in any case: the run itself has ended."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", force=True)
    parser = argparse.ArgumentParser(prog="python -m pipeline.kubeflow.run_notice")
    for option in ("--pipeline", "--run-id", "--pipeline-root", "--endings"):
        parser.add_argument(option, required=True)
    parser.add_argument("--node", action="append", default=[], help="a slice of the IR")
    options = parser.parse_args(arguments)
    try:
        nodes = read(options.endings, options.run_id)
        found = _results(options.node, options.run_id, options.pipeline_root)
        told = notice(options.pipeline, options.run_id, nodes, found)
        print(webhook.send(told) or "mnist-tfx: the notice was sent, or none was due.", flush=True)
    except Exception:
        logging.exception("the notice was not sent")
    return ExitCode.OK


def keep(ended: NodeChanged, folder: str, run_id: str) -> None:
    """Writes how a node ended; the folder can be in a bucket."""
    own = posixpath.join(folder, run_id)
    fileio.makedirs(own)
    with fileio.open(posixpath.join(own, f"{ended.node}.json"), "w") as file:
        file.write(ended.model_dump_json())


def read(folder: str, run_id: str) -> list[NodeChanged]:
    """How the nodes of a run ended, in the order of their ends."""
    own = posixpath.join(folder, run_id)
    names = fileio.listdir(own) if fileio.exists(own) else []
    found = []
    for name in names:
        with fileio.open(posixpath.join(own, name)) as file:
            found.append(NodeChanged.model_validate_json(file.read()))
    return sorted(found, key=lambda ended: ended.time.timestamp() if ended.time else 0.0)


def notice(
    pipeline: str, run_id: str, nodes: Sequence[NodeChanged], found: Results
) -> Notice | None:
    """The notice about a run; None if none is to be sent, since all came from the cache.

    Args:
      pipeline: the name of the pipeline.
      run_id: the run.
      nodes: how the nodes ended.
      found: what the run produced.
    """
    failed = [node for node in nodes if node.state == "failed"]
    push = next((node.state for node in nodes if node.node == NodeId.ATOMIC_PUSHER), "waiting")
    if push == "cached" or (push == "done" and found.version is None):
        return None
    if failure := verdict.of_failed_nodes(failed):
        exit_code, message = failure
    elif push == "done":
        exit_code, message = ExitCode.OK, ""
    else:
        exit_code = ExitCode.FAILED
        message = "a task was killed or did not start; see the page of the run."
    result = {ExitCode.OK: "pushed", ExitCode.REJECTED: "rejected"}.get(exit_code, "failed")
    times = [node.time.timestamp() for node in nodes if node.time]
    start = min((node.time.timestamp() - node.seconds for node in nodes if node.time), default=0.0)
    return Notice(
        pipeline=pipeline,
        run_id=run_id,
        result=result,
        exit_code=exit_code,
        message=message,
        rejections=tuple(reason for node in failed for reason in node.rejections),
        accuracy=found.accuracy,
        accuracy_change=found.accuracy_change,
        version=found.version,
        report=found.report,
        seconds=max(times, default=start) - start,
    )


def _results(slices: Sequence[str], run_id: str, pipeline_root: str) -> Results:
    """Reads the artifacts of `READ_NODES` from ML Metadata."""
    found = Results()
    config = metadata_store.connection(os.environ)
    for text in slices:
        part = node_slice.decode(text)
        node_slice.fill_in(part, run_id, pipeline_root, {})
        node = part.nodes[0].pipeline_node
        with metadata.Metadata(config) as handle:
            written = executions.outputs(handle, node)
        if not written:
            continue
        match node.node_info.id:
            case NodeId.EVALUATOR:
                overall = results.read(written[specs.EVALUATION_KEY][0].uri).overall
                accuracy, champion = overall.candidate.accuracy, overall.champion
                change = accuracy - champion.accuracy if champion else None
                found = found._replace(accuracy=accuracy, accuracy_change=change)
            case NodeId.RUN_REPORT:
                found = found._replace(report=written[REPORT][0].uri)
            case NodeId.ATOMIC_PUSHER:
                pushed = written[specs.PUSHED_MODEL_KEY][0]
                is_new = not pushed.get_int_custom_property(ADOPTED)
                if executions.is_pushed(pushed) and is_new:
                    destination = pushed.get_string_custom_property(PUSHED_DESTINATION)
                    found = found._replace(version=int(posixpath.basename(destination)))
    return found


if __name__ == "__main__":
    raise SystemExit(main())
