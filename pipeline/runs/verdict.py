"""From the outcome of a run to its exit code: the one place that decides, for every runner."""

from __future__ import annotations

import signal
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from components.names.node_ids import NodeId
from pipeline.runs import events
from pipeline.settings.errors import ExitCode

GATES: Final = (NodeId.ANOMALY_GATE, NodeId.ATOMIC_PUSHER)
"""The nodes that fail when a gate rejects."""


class Verdict(NamedTuple):
    """How a run, or one node of it, ended."""

    exit_code: ExitCode
    message: str
    """One sentence; empty for a local run that ended well."""


def of_failure(rejections: Collection[object]) -> ExitCode:
    """The exit code of a node that failed: a node that gives rejections was a gate."""
    return ExitCode.REJECTED if rejections else ExitCode.FAILED


def of_failed_nodes(failed: Sequence[events.NodeChanged]) -> Verdict | None:
    """The verdict on a run whose nodes failed; None without any. A rejection outranks a failure."""
    for node in failed:
        if node.rejections:
            return Verdict(of_failure(node.rejections), f"{node.node} rejected: {node.message}")
    if not failed:
        return None
    messages = (
        f"{node.node} failed: {node.message or 'see its log for the reason'}" for node in failed
    )
    return Verdict(ExitCode.FAILED, "; ".join(messages))


def of_local_run(
    nodes: Sequence[events.NodeChanged],
    outcome: events.Outcome | None,
    not_answered: events.NotAnswered | None,
    return_code: int,
    is_partial: bool,
    last_line: str = "",
) -> Verdict:
    """The verdict on a local run.

    Args:
      nodes: the last event of each node.
      outcome: the outcome, if the run reached its end.
      not_answered: the reason, if the pushed model was not served.
      return_code: the return code of the pipeline's process; negative for a signal.
      is_partial: whether the run was to stop before its end.
      last_line: the last line of the log.
    """
    failed = of_failed_nodes([node for node in nodes if node.state == "failed"])
    if failed:
        return failed
    if is_partial and return_code == 0:
        return Verdict(ExitCode.OK, "")
    if outcome is None or return_code != 0:
        running = [node.node for node in nodes if node.state == "running"]
        where = f" while {running[-1]} was running" if running else ""
        how = (
            f"was killed by signal {-return_code}"
            if return_code < 0
            else f"ended with exit code {return_code}"
        )
        if return_code == -signal.SIGKILL:
            how += " (the system kills processes when memory runs out)"
        reason = f"; the last line of its log: {last_line}" if last_line else ""
        return Verdict(ExitCode.FAILED, f"the pipeline's process {how}{where}{reason}")
    if outcome.pushed is None:
        reasons = "; ".join(outcome.rejections) or "it was not blessed"
        return Verdict(ExitCode.REJECTED, f"the model was not pushed: {reasons}")
    if not_answered:
        message = f"the model was pushed, but is not served: {not_answered.message}"
        return Verdict(ExitCode.FAILED, message)
    return Verdict(ExitCode.OK, "")


def of_cluster_run(state: str, failed: Sequence[events.NodeChanged]) -> Verdict:
    """The verdict on a run on Kubeflow Pipelines.

    Args:
      state: the state of the run in KFP's API.
      failed: the nodes that failed; without a message if their log could not be read.
    """
    if state == "SUCCEEDED":
        return Verdict(ExitCode.OK, "the run succeeded.")
    if state == "CANCELED":
        return Verdict(ExitCode.FAILED, "the run was canceled.")
    verdict = of_failed_nodes(failed)
    if verdict and verdict.exit_code is ExitCode.REJECTED:
        return verdict
    for node in failed:
        if not node.message and node.node in GATES:
            message = f"{node.node} rejected or failed; see its log for the reason."
            return Verdict(ExitCode.REJECTED, message)
    early = "the run failed before its first component; see its page."
    return verdict or Verdict(ExitCode.FAILED, early)
