"""A child process ends with the block that uses it, also when a signal comes at the start."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doubles.processes import is_running

from serving import child_process

FOREVER = ("sleep", "1000")
IGNORES_SIGTERM = ("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
ENDS_BEFORE_ANOTHER = ("sh", "-c", "sleep 1000 >/dev/null & echo $!")
IGNORES_SIGTERM_IN_ANOTHER = (
    "sh",
    "-c",
    "(trap '' TERM; exec sleep 1000 >/dev/null) & sleep 0.5; echo $!; wait",
)
CLEANS_UP_IN_ANOTHER = (
    "sh",
    "-c",
    "(trap 'sleep 0.3; echo clean; exit' TERM; echo ready; while :; do sleep 0.05; done) & wait",
)
STARTS_ANOTHER = ("sh", "-c", "sleep 1000 & echo $!; wait")


@pytest.fixture
def as_in_the_command() -> Iterator[None]:
    """The signal handlers of `mnist-tfx`."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in before:
        signal.signal(number, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("as_in_the_command")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_start_leaves_no_process(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    started: list[int] = []

    class InterruptedPopen(subprocess.Popen):  # type: ignore[type-arg]
        """Is interrupted after the fork, before the caller has the object."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            started.append(self.pid)
            os.kill(os.getpid(), number)
            time.sleep(0.01)  # Python runs the handler here

    monkeypatch.setattr(subprocess, "Popen", InterruptedPopen)
    with pytest.raises(KeyboardInterrupt), child_process.running(FOREVER):
        pytest.fail("the block must not run")
    assert len(started) == 1
    assert not Path(f"/proc/{started[0]}").exists()


def test_processes_that_a_group_leader_has_started_end_with_it() -> None:
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True}
    with child_process.running(STARTS_ANOTHER, leads_group=True, **options) as process:
        assert process.stdout is not None
        grandchild = int(process.stdout.readline())
        assert is_running(grandchild)
    assert process.returncode == -signal.SIGTERM
    _wait_for_the_end(grandchild)


def test_members_of_a_group_may_clean_up_after_their_leader_has_ended() -> None:
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True}
    with child_process.running(CLEANS_UP_IN_ANOTHER, leads_group=True, **options) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    assert process.stdout.read() == "clean\n"


def _wait_for_the_end(pid: int) -> None:
    deadline_s = time.monotonic() + 60
    while is_running(pid):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


@pytest.mark.parametrize("command", [ENDS_BEFORE_ANOTHER, IGNORES_SIGTERM_IN_ANOTHER])
def test_no_process_of_a_group_is_left(command: tuple[str, ...]) -> None:
    """Also if the leader has ended before, or a member ignores SIGTERM."""
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True}
    with child_process.running(command, leads_group=True, **options) as process:
        assert process.stdout is not None
        other = int(process.stdout.readline())
        if command is ENDS_BEFORE_ANOTHER:
            process.wait(timeout=60)
        assert is_running(other)
    _wait_for_the_end(other)


def test_a_process_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "STOP_TIMEOUT_S", 0.1)
    with child_process.running(IGNORES_SIGTERM, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.usefixtures("as_in_the_command")
def test_a_second_interrupt_kills_at_once() -> None:
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True}
    with (
        pytest.raises(KeyboardInterrupt),
        child_process.running(IGNORES_SIGTERM, **options) as process,
    ):
        assert process.stdout is not None
        process.stdout.readline()
        signal.setitimer(signal.ITIMER_REAL, 0.2)  # within the wait for the end
    assert process.returncode == -signal.SIGKILL


def test_an_exit_code_of_its_own_is_kept() -> None:
    with child_process.running(("sh", "-c", "exit 7")) as process:
        process.wait(timeout=60)
    assert process.returncode == 7
