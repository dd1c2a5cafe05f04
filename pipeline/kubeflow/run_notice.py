"""The last task of a run, if the cluster file has a webhook: tells a web service how it ended.

    python -m pipeline.kubeflow.run_notice --pipeline NAME --run-id RUN --endings FOLDER ...

Kubeflow starts it as its exit handler, also if a task failed. Each task writes how its node ended
to a file; a task without one was killed, or did not start. (Kubeflow could give the state of the
run, but asks ML Metadata for it with a query that not every server of it supports.)
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import posixpath
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tfx.dsl.io import fileio
from tfx.orchestration import metadata
from tfx.types import standard_component_specs as specs
from tfx.types.artifact import Artifact

from components.evaluation import results
from components.names.artifact_properties import ADOPTED, PUSHED_DESTINATION
from components.names.node_ids import NodeId
from components.run_report import REPORT
from pipeline.kubeflow import metadata_store, node_slice
from pipeline.runs import executions, run_log, verdict, webhook
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
    """The pushed version."""

    is_new: bool | None = None
    """Whether it was not served before; None if that could not be read."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Sends the notice. The exit code is 0 in any case: the run itself has ended."""
    run_log.configure()
    parser = argparse.ArgumentParser(prog="python -m pipeline.kubeflow.run_notice")
    for option in ("--pipeline", "--run-id", "--pipeline-root", "--endings"):
        parser.add_argument(option, required=True)
    parser.add_argument("--node", action="append", default=[], help="a slice of the IR")
    options = parser.parse_args(arguments)
    try:
        nodes = read_endings(options.endings, options.run_id)
        found = _results(options.node, options.run_id, options.pipeline_root)
        notice = notice_of(options.pipeline, options.run_id, nodes, found)
        if notice is None:
            print("no notice is due.", flush=True)
        elif not os.environ.get(webhook.VARIABLE):
            print(f"the notice was not sent: {webhook.VARIABLE} is not set.", flush=True)
        else:
            print(webhook.send(notice) or "the notice was sent.", flush=True)
    except Exception:
        logging.exception("the notice was not sent")
    with contextlib.suppress(Exception):  # files that remain do no harm
        fileio.rmtree(posixpath.join(options.endings, options.run_id))
    return ExitCode.OK


def write_ending(ended: NodeChanged, folder: str, run_id: str) -> None:
    """Writes how a node ended; the folder can be in a bucket."""
    fileio.makedirs(posixpath.join(folder, run_id))
    with fileio.open(_path(folder, run_id, ended.node), "w") as file:
        file.write(ended.model_dump_json())


def remove_ending(node: str, folder: str, run_id: str) -> None:
    """Removes how an earlier attempt of a node ended."""
    if fileio.exists(_path(folder, run_id, node)):
        fileio.remove(_path(folder, run_id, node))


def read_endings(folder: str, run_id: str) -> list[NodeChanged]:
    """How the nodes of a run ended, in the order of their ends."""
    found = []
    for node in NodeId:
        path = _path(folder, run_id, node)
        if not fileio.exists(path):
            continue
        with fileio.open(path) as file:
            content = file.read()
        try:
            found.append(NodeChanged.model_validate_json(content))
        except ValueError:
            logging.warning("%s is damaged; the task was killed while it wrote it", path)
    return sorted(found, key=lambda ended: ended.time.timestamp() if ended.time else 0.0)


def _path(folder: str, run_id: str, node: str) -> str:
    return posixpath.join(folder, run_id, f"{node}.json")


def notice_of(
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
    states = {node.node: node.state for node in nodes}
    if failure := verdict.of_failed_nodes(failed):
        exit_code, message = failure
    elif not states.keys() >= set(NodeId):
        exit_code = ExitCode.FAILED
        message = "a task was killed or did not start; see the page of the run."
    elif states[NodeId.ATOMIC_PUSHER] == "cached" or found.is_new is False:
        return None
    else:
        exit_code, message = ExitCode.OK, ""
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
    """Reads the artifacts of `READ_NODES` from ML Metadata; what cannot be read stays None."""
    found = Results()
    for text in slices:
        try:
            part = node_slice.decode(text)
            node_slice.fill_in(part, run_id, pipeline_root, {})
            node = part.nodes[0].pipeline_node
            with metadata.Metadata(metadata_store.connection(os.environ)) as handle:
                written = executions.outputs(handle, node)
            if written:
                found = _with_artifacts(found, node.node_info.id, written)
        except Exception:
            logging.exception("a part of the notice cannot be read")
    return found


def _with_artifacts(
    found: Results, node_id: str, written: Mapping[str, Sequence[Artifact]]
) -> Results:
    match node_id:
        case NodeId.EVALUATOR:
            overall = results.read(written[specs.EVALUATION_KEY][0].uri).overall
            accuracy, champion = overall.candidate.accuracy, overall.champion
            change = accuracy - champion.accuracy if champion else None
            return found._replace(accuracy=accuracy, accuracy_change=change)
        case NodeId.RUN_REPORT:
            return found._replace(report=written[REPORT][0].uri)
        case NodeId.ATOMIC_PUSHER:
            pushed = written[specs.PUSHED_MODEL_KEY][0]
            if executions.is_pushed(pushed):
                destination = pushed.get_string_custom_property(PUSHED_DESTINATION)
                is_new = not pushed.get_int_custom_property(ADOPTED)
                return found._replace(version=int(posixpath.basename(destination)), is_new=is_new)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
