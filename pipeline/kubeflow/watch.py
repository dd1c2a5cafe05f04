"""Follows a run on Kubeflow Pipelines: starts and ends of nodes, and reasons of failures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from kfp_server_api import V2beta1PipelineTaskDetail as TaskDetail
from kfp_server_api import V2beta1Run as Run

from pipeline.kubeflow import task_log
from pipeline.kubeflow.connection import Connection, UnreachableError
from pipeline.kubeflow.task_log import Ending
from pipeline.runs.events import NodeChanged, NodeState

POLL_INTERVAL_S: Final = 2.0
UNREACHABLE_TOLERANCE_S: Final = 60.0  # the longest time without an answer

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
      connection: the connection to the server.
      run_id: the run.
      nodes: the node of each KFP task.
      on_event: called when a node starts or ends.
      interval_s: the interval of polling.

    Returns:
      The state of the run, and the nodes that failed. The message and the rejection of a failed
      node come from the last line of its log, if the server provides the log.

    Raises:
      ClusterError: the server rejected a request, or did not answer for
        `UNREACHABLE_TOLERANCE_S`.
    """
    seen: dict[str, NodeState] = {}
    failed: list[NodeChanged] = []
    answered_s = time.monotonic()
    while True:
        try:
            run: Run = connection.get_run(run_id)
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
                    event = _with_reason(event, connection, detail, details)
                    failed.append(event)
                on_event(event)
            if run.state in _FINAL_STATES:
                return run.state, failed
        time.sleep(interval_s)


def _with_reason(
    event: NodeChanged, connection: Connection, failed: TaskDetail, details: list[TaskDetail]
) -> NodeChanged:
    """The event with the reason in the task's log; unchanged if the log is not available."""
    pod = _failed_pod(failed, details)
    line = task_log.parse(connection.read_log(pod) or []) if pod else None
    if line is None:
        return event
    rejections = (line.reason,) if line.ending == Ending.REJECTED else ()
    return event.model_copy(update={"message": line.reason, "rejections": rejections})


def _failed_pod(task: TaskDetail, details: list[TaskDetail]) -> str | None:
    """The last pod that ran the container of a failed task.

    A task is a node of a workflow, and its pods are nodes below it; below the last pod are the
    tasks that it prevented from starting. Children are named by the id of the node, details by
    the name of the pod; both end with the hash of the node.
    """
    by_hash = {_hash(detail.pod_name): detail for detail in details if detail.pod_name}
    pods: list[TaskDetail] = []
    waiting = [task]
    while waiting:
        detail = waiting.pop()
        children = [by_hash.get(_hash(child.pod_name)) for child in detail.child_tasks or []]
        failed = [child for child in children if child is not None and child.state == "FAILED"]
        waiting += failed
        if not failed and detail is not task and detail.state == "FAILED" and detail.pod_name:
            pods.append(detail)
    newest = max(pods, key=lambda pod: (pod.end_time is not None, pod.end_time), default=None)
    return str(newest.pod_name) if newest else None


def _hash(pod_name: str) -> str:
    return pod_name.rpartition("-")[2]


def _seconds(detail: TaskDetail) -> float:
    if detail.start_time is None or detail.end_time is None:
        return 0.0
    return max(0.0, float((detail.end_time - detail.start_time).total_seconds()))
