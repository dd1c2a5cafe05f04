"""Follows a run on Kubeflow Pipelines: starts and ends of nodes, and reasons of failures."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from kfp_server_api import V2beta1PipelineTaskDetail as TaskDetail
from kfp_server_api import V2beta1Run as Run

from pipeline.kubeflow import task_log
from pipeline.kubeflow.connection import Connection, UnreachableError
from pipeline.kubeflow.task_log import Ending, LastLine
from pipeline.kubeflow.task_pods import TaskPods
from pipeline.runs.events import NodeChanged, NodeState

POLL_INTERVAL_S: Final = 2.0
POD_INTERVAL_S: Final = 10.0
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
_EXECUTOR: Final = "executor"  # Kubeflow's name of the node above the pods of a task
_ATTEMPT: Final = re.compile(r"\(\d+\)$")


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
      on_event: called when a node starts or ends, and when its pod cannot start.
      interval_s: the interval of polling.

    Returns:
      The state of the run, and the nodes that failed. The message and the rejection of a failed
      node come from the last line of its log, or from Kubernetes, if they are available.

    Raises:
      ClusterError: the server rejected a request, or did not answer for
        `UNREACHABLE_TOLERANCE_S`.
    """
    run = _FollowedRun(connection, run_id, nodes, on_event)
    answered_s = looked_s = time.monotonic()
    while True:
        try:
            answer: Run = connection.get_run(run_id)
            answered_s = time.monotonic()
        except UnreachableError:
            if time.monotonic() - answered_s > UNREACHABLE_TOLERANCE_S:
                raise
        else:
            details = (answer.run_details.task_details if answer.run_details else None) or []
            run.take(details)
            if answer.state in _FINAL_STATES:
                return answer.state, run.failed
        if time.monotonic() - looked_s >= POD_INTERVAL_S:
            run.look_at_pods()
            looked_s = time.monotonic()
        time.sleep(interval_s)


class _FollowedRun:
    """What is known of a run so far; `follow` describes the arguments."""

    def __init__(
        self,
        connection: Connection,
        run_id: str,
        nodes: Mapping[str, str],
        on_event: Callable[[NodeChanged], None],
    ):
        self.failed: list[NodeChanged] = []
        self._connection = connection
        self._run_id = run_id
        self._nodes = nodes
        self._on_event = on_event
        self._seen: dict[str, NodeState] = {}
        self._lines: dict[str, LastLine] = {}
        """The last line of each pod's log that was read, in the order of the pods."""

        self._pods = TaskPods(connection.cluster, run_id)
        self._problems: dict[str, str] = {}

    def take(self, details: Iterable[TaskDetail]) -> None:
        """Emits the changes since the last time."""
        details = list(details)
        for detail in details:
            node = self._nodes.get(detail.display_name)
            state = _STATES.get(detail.state or "")
            if node is None or state is None or self._seen.get(node) == state:
                continue
            self._seen[node] = state
            event = NodeChanged(node=node, state=state, seconds=_seconds(detail))
            if state != "running":
                event = self._with_ending(event, detail, details)
            if event.state == "failed":
                self.failed.append(event)
            self._on_event(event)

    def look_at_pods(self) -> None:
        """Emits the problems of pods that cannot start."""
        problems = self._pods.problems()
        for task, problem in problems.items():
            node = self._nodes.get(task, task)  # also of the task that sends the notice
            is_new = problem != self._problems.get(task)
            if is_new and self._seen.get(node) in (None, "running"):
                self._on_event(NodeChanged(node=node, state="waiting", message=problem))
        self._problems = problems

    def _with_ending(
        self, event: NodeChanged, ended: TaskDetail, details: Iterable[TaskDetail]
    ) -> NodeChanged:
        """The event with the ending and the reason that the task's log, or Kubernetes, has."""
        line = task_log.parse(self._pods.read_log(ended.display_name))
        if event.state == "failed":
            problem = "" if line else self._pods.problems().get(ended.display_name, "")
            line = line or (None if problem else self._last_line(event.node, ended, details))
            if line and line.is_failure:
                rejections = (line.reason,) if line.ending is Ending.REJECTED else ()
                return event.model_copy(update={"message": line.reason, "rejections": rejections})
            return event.model_copy(update={"message": problem})
        line = line or self._last_line(event.node, ended, details)
        if line and not line.is_failure:
            return event.model_copy(update={"state": line.ending.value})
        return event

    def _last_line(
        self, node: str, ended: TaskDetail, details: Iterable[TaskDetail]
    ) -> LastLine | None:
        """The last line of a node, from the logs that Kubeflow's API has.

        Unlike Kubernetes, the API does not tell which pod is a task's. But it names the pods below
        each `executor` and, of a task without retries, below the task itself; and the last line of
        a log names its node.
        """
        for detail in details:
            name = _ATTEMPT.sub("", detail.display_name)
            if detail.state in _FINAL_STATES and name in (_EXECUTOR, ended.display_name):
                for child in detail.child_tasks or []:
                    self._read(child.pod_name)
        found = [line for line in self._lines.values() if line.node == node]
        return found[-1] if found else None

    def _read(self, pod: str) -> None:
        if pod not in self._lines:
            line = task_log.parse(self._connection.read_log(self._run_id, pod))
            if line:  # a log is in the archive some time after the end of its pod
                self._lines[pod] = line


def _seconds(detail: TaskDetail) -> float:
    if detail.start_time is None or detail.end_time is None:
        return 0.0
    return max(0.0, float((detail.end_time - detail.start_time).total_seconds()))
