"""From the outcome of a run to its exit code, for every runner."""

import pytest

from pipeline.runs import verdict
from pipeline.runs.events import NodeChanged, NotAnswered, Outcome
from pipeline.settings.errors import ExitCode


@pytest.mark.parametrize(
    ("state", "failed", "code", "sentence"),
    [
        ("SUCCEEDED", {}, ExitCode.OK, "the run succeeded."),
        ("CANCELED", {"Trainer": ""}, ExitCode.FAILED, "the run was canceled."),
        ("FAILED", {}, ExitCode.FAILED, "the run failed before its first component; see its page."),
        ("FAILED", {"Trainer": ""}, ExitCode.FAILED, "Trainer failed: see its log for the reason"),
        ("FAILED", {"Trainer": "x"}, ExitCode.FAILED, "Trainer failed: x"),
        (
            "FAILED",
            {"AtomicPusher": "rejected: accuracy"},
            ExitCode.REJECTED,
            "AtomicPusher rejected: accuracy",
        ),
        (
            "FAILED",
            {"AtomicPusher": "the disk is full"},
            ExitCode.FAILED,
            "AtomicPusher failed: the disk is full",
        ),
        (
            "FAILED",
            {"AtomicPusher": ""},
            ExitCode.REJECTED,
            "AtomicPusher rejected or failed; see its log for the reason.",
        ),
    ],
)
def test_the_verdict_on_a_cluster_run(
    state: str, failed: dict[str, str], code: ExitCode, sentence: str
) -> None:
    failures = []
    for node, message in failed.items():
        reason = message.removeprefix("rejected: ")
        rejections = (reason,) if reason != message else ()
        event = NodeChanged(node=node, state="failed", message=reason, rejections=rejections)
        failures.append(event)
    assert verdict.of_cluster_run(state, failures) == (code, sentence)


def _outcome(pushed: str | None, rejections: tuple[str, ...] = ()) -> Outcome:
    return Outcome(
        test_images=300,
        accuracy=0.9,
        loss=0.2,
        digit_accuracy={"0": 1.0},
        rejections=rejections,
        pushed=pushed,
        artifacts="/artifacts",
        tensorboard="/logs",
    )


RUNNING = NodeChanged(node="Trainer", state="running")
FAILED = NodeChanged(node="Trainer", state="failed", message="a bug")
REJECTED = NodeChanged(
    node="AnomalyGate", state="failed", message="1 anomaly: x", rejections=("x",)
)
PUSHED = _outcome("/serving/1")


@pytest.mark.parametrize(
    ("nodes", "outcome", "not_answered", "return_code", "is_partial", "expected"),
    [
        ([], PUSHED, None, 0, False, (ExitCode.OK, "")),
        ([], None, None, 0, True, (ExitCode.OK, "")),
        ([FAILED], None, None, 1, False, (ExitCode.FAILED, "Trainer failed: a bug")),
        ([FAILED, REJECTED], None, None, 1, False, (ExitCode.REJECTED, "AnomalyGate rejected: 1 ")),
        ([REJECTED], None, None, 1, True, (ExitCode.REJECTED, "AnomalyGate rejected: 1 anomaly")),
        ([RUNNING], None, None, -9, False, (ExitCode.FAILED, "memory runs out) while Trainer")),
        ([], None, None, 1, False, (ExitCode.FAILED, "process ended with exit code 1")),
        ([], PUSHED, None, 1, False, (ExitCode.FAILED, "process ended with exit code 1")),
        (
            [],
            _outcome(None, ("too low", "too slow")),
            None,
            0,
            False,
            (ExitCode.REJECTED, "the model was not pushed: too low; too slow"),
        ),
        (
            [],
            PUSHED,
            NotAnswered(message="no answer"),
            0,
            False,
            (ExitCode.FAILED, "the model was pushed, but is not served: no answer"),
        ),
    ],
)
def test_the_verdict_on_a_local_run(
    nodes: list[NodeChanged],
    outcome: Outcome | None,
    not_answered: NotAnswered | None,
    return_code: int,
    is_partial: bool,
    expected: tuple[ExitCode, str],
) -> None:
    found = verdict.of_local_run(nodes, outcome, not_answered, return_code, is_partial)
    assert found.exit_code == expected[0]
    assert expected[1] in found.message
    assert bool(found.message) == (found.exit_code != ExitCode.OK)


@pytest.mark.parametrize(
    ("return_code", "how"),
    [
        (1, "ended with exit code 1"),
        (-9, "was killed by signal 9 (the system kills processes when memory runs out)"),
        (-15, "was killed by signal 15"),
    ],
)
def test_the_message_contains_the_last_line_of_the_log(return_code: int, how: str) -> None:
    found = verdict.of_local_run([RUNNING], None, None, return_code, False, "RuntimeError: x")
    assert found.message == (
        f"the pipeline's process {how} while Trainer was running; the last line of its log: "
        "RuntimeError: x"
    )
