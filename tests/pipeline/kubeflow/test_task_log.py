"""The last line of a task's log, as the container writes it and a follower reads it."""

import pytest

from pipeline.kubeflow import task_log
from pipeline.kubeflow.task_log import Ending, LastLine

DONE = LastLine("Trainer", Ending.DONE)
REJECTED = LastLine("AnomalyGate", Ending.REJECTED, "the data has 1 anomaly: test: too bright")
# Of Kubeflow Pipelines 2.17.
LAUNCHER = [
    'I1126 10:12:52.690166      15 launcher_v2.go:1230] ExecutorOutput: {\n  "artifacts": {}\n}',
    "I1126 10:12:52.728606      15 launcher_v2.go:206] publish success.",
]
FATAL = "F1126 10:12:52.735461      15 main.go:59] failed to execute component: exit status 1"


@pytest.mark.parametrize("line", [DONE, REJECTED, LastLine("Evaluator", Ending.CACHED)])
def test_what_is_written_is_read(line: LastLine) -> None:
    assert task_log.parse(["noise", str(line), *LAUNCHER]) == line


def test_the_reason_is_the_nodes_own_and_else_the_launchers() -> None:
    assert task_log.parse([str(REJECTED), *LAUNCHER, FATAL]) == REJECTED
    assert task_log.parse([str(DONE), *LAUNCHER, FATAL, "Error: exit status 1"]) == LastLine(
        "Trainer",
        Ending.FAILED,
        "Kubeflow's launcher failed: failed to execute component: exit status 1",
    )


@pytest.mark.parametrize("log", [[], ["noise"], ["mnist-tfx: Trainer sleeps"], [FATAL]])
def test_a_log_without_a_last_line(log: list[str]) -> None:
    assert task_log.parse(log) is None
