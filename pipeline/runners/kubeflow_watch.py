"""Follows a run on Kubeflow Pipelines: which node started, which ended, and why one failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from kfp_server_api import V2beta1PipelineTaskDetail as TaskDetail
from kfp_server_api import V2beta1Run as Run

from pipeline.events import NodeChanged, NodeState
from pipeline.runners import last_words
from pipeline.runners.kubeflow_connection import Connection, UnreachableError
from pipeline.runners.last_words import Ending

POLL_INTERVAL_S: Final = 2.0
UNREACHABLE_TOLERANCE_S: Final = 60.0  # how long a run is followed without an answer

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
      The run's state, and the nodes that failed; a failed node's message, and where a gate
      said no its refusal, are in the last line of its log, where the server lets it be read.

    Raises:
      ClusterError: the server refused, or gave no answer for `UNREACHABLE_TOLERANCE_S`.
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
    """The event with what the task's log ends with; as it is where the log cannot be had."""
    pod = _failed_pod(failed, details)
    words = last_words.parse(connection.read_log(pod) or []) if pod else None
    if words is None:
        return event
    refusals = (words.reason,) if words.ending == Ending.REFUSED else ()
    return event.model_copy(update={"message": words.reason, "refusals": refusals})


def _failed_pod(task: TaskDetail, details: list[TaskDetail]) -> str | None:
    """The pod of a failed task that ran its container last.

    A task is a node of a workflow, and its pods are nodes below it; below the last of them
    are the tasks that were not started because of it. Children are named by the node's id,
    details by the pod's name; both end with the node's hash.
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
