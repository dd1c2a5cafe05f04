"""Follows a run on Kubeflow Pipelines: which node started, which ended, and why one failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from kfp_server_api import V2beta1PipelineTaskDetail as TaskDetail
from kfp_server_api import V2beta1Run as Run

from pipeline.events import NodeChanged, NodeState
from pipeline.runners.kubeflow_connection import Connection, UnreachableError

POLL_INTERVAL_S: Final = 2.0
UNREACHABLE_TOLERANCE_S: Final = 60.0  # how long a run is followed without an answer
LOG_PREFIX: Final = "mnist-tfx: "  # of the line that a task's log ends with

_STATES: Final[Mapping[str, NodeState]] = {
    "RUNNING": "running",
    "CANCELING": "running",
    "PAUSED": "running",
    "SUCCEEDED": "done",
    "FAILED": "failed",
    "CANCELED": "failed",
}
_FINAL_STATES: Final = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


def follow(
    connection: Connection,
    run_id: str,
    nodes: Mapping[str, str],
    on_event: Callable[[NodeChanged], None],
    interval_s: float = POLL_INTERVAL_S,
) -> tuple[str, list[NodeChanged]]:
    """Waits for a run to end.

    Args:
      connection: where the run is.
      run_id: the run.
      nodes: the node of each KFP task.
      on_event: called when a node starts or ends.
      interval_s: how often to look.

    Returns:
      The run's state, and the nodes that failed; a failed node's message is the last line
      of its log, where the server lets it be read.

    Raises:
      ClusterError: the server refused, or gave no answer for `UNREACHABLE_TOLERANCE_S`.
    """
    seen: dict[str, NodeState] = {}
    failed: list[NodeChanged] = []
    answered_s = time.monotonic()
    while True:
        try:
            with connection.explained():
                run: Run = connection.client.get_run(run_id)
            answered_s = time.monotonic()
        except UnreachableError:
            if time.monotonic() - answered_s > UNREACHABLE_TOLERANCE_S:
                raise
        else:
            details = (run.run_details.task_details if run.run_details else None) or []
            for detail in details:
                node = nodes.get(detail.display_name)
                state = _STATES.get(detail.state or "")
                if node is None or state is None or seen.get(node) == state:
                    continue
                seen[node] = state
                event = NodeChanged(node=node, state=state, seconds=_seconds(detail))
                if state == "failed":
                    message = _last_words(connection, detail, details)
                    event = event.model_copy(update={"message": message})
                    failed.append(event)
                on_event(event)
            if run.state in _FINAL_STATES:
                return run.state, failed
        time.sleep(interval_s)


def _last_words(connection: Connection, failed: TaskDetail, details: list[TaskDetail]) -> str:
    """The last line for people in the log of a failed task; empty where it cannot be had."""
    pod = _failed_pod(failed, details)
    lines = connection.read_log(pod) if pod else None
    said = [line.partition(LOG_PREFIX)[2] for line in lines or () if LOG_PREFIX in line]
    return said[-1] if said else ""


def _failed_pod(task: TaskDetail, details: list[TaskDetail]) -> str | None:
    """The pod of a failed task that ran its container last.

    A task is a node of a workflow, and its pods are nodes below it. Children are named by
    the node's id, details by the pod's name; both end with the node's hash.
    """
    by_hash = {_hash(detail.pod_name): detail for detail in details if detail.pod_name}
    pods: list[TaskDetail] = []
    waiting = [task]
    while waiting:
        detail = waiting.pop()
        children = [by_hash.get(_hash(child.pod_name)) for child in detail.child_tasks or []]
        waiting += [child for child in children if child is not None and child is not detail]
        if not children and detail.state == "FAILED" and detail.pod_name:
            pods.append(detail)
    newest = max(pods, key=lambda pod: (pod.end_time is not None, pod.end_time), default=None)
    return str(newest.pod_name) if newest else None


def _hash(pod_name: str) -> str:
    return pod_name.rpartition("-")[2]


def _seconds(detail: TaskDetail) -> float:
    if detail.start_time is None or detail.end_time is None:
        return 0.0
    return max(0.0, float((detail.end_time - detail.start_time).total_seconds()))
