"""Runs the pipeline on this machine: BeamDagRunner, in a process of its own.

The process keeps the output of the libraries off the screen: it goes to the run's log. Events come
back through a pipe of their own (`pipeline/runs/events.py`). This module imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from pipeline.runs import events, run_record, verdict
from pipeline.runs.run_record import RunRecord
from pipeline.runs.workspace import Workspace
from pipeline.settings.errors import PipelineError
from pipeline.settings.pipeline_config import PipelineConfig
from serving import child_process

LOG: Final = "log.txt"
EVENTS: Final = "events.jsonl"
WORKER: Final = "pipeline.local"
_RUN_ID: Final = "%Y%m%d-%H%M%S-%f"
_POLL_INTERVAL_S: Final = 0.5
_LONGEST_LINE: Final = 1000  # bytes of the log's last line that are shown


class Job(BaseModel):
    """The job of the process, the first line of its standard input."""

    config: PipelineConfig
    root: Path
    data: Path
    run_id: str
    server: str | None
    until: str | None
    events_fd: int
    """The file descriptor to write events to."""


def run(
    config: PipelineConfig,
    workspace: Workspace,
    data: Path,
    run_id: str,
    on_event: Callable[[events.Event], None],
    server: str | None = None,
    until: str | None = None,
) -> RunRecord:
    """Runs the pipeline.

    Args:
      config: the configuration.
      workspace: where to write.
      data: the folder with the four IDX files, or with the spans.
      run_id: the name of the run; see `new_run_id`.
      on_event: called with each event when it arrives.
      server: the address of a model server on the workspace's serving folder; the run sends it a
        few test images after the push.
      until: the node to stop after; None for the whole pipeline.

    Returns:
      The record of the run, also of one that failed; the workspace keeps it.

    Raises:
      PipelineError: the workspace cannot be used, or its metadata is damaged.
      WorkspaceBusyError: another run is using the workspace.
    """
    start_s = time.monotonic()
    nodes: dict[str, events.NodeChanged] = {}
    outcome: events.Outcome | None = None
    not_answered: events.NotAnswered | None = None
    with workspace.exclusively() as lock_fd, workspace.temporary_folder() as temporary:
        workspace.check_metadata()
        log = workspace.run_folder(run_id) / LOG
        started = RunRecord(run_id=run_id, pipeline=config.name)
        workspace.save(started)
        read_fd, write_fd = os.pipe()
        job = Job(
            config=config,
            root=workspace.root,
            data=data,
            run_id=run_id,
            server=server,
            until=until,
            events_fd=write_fd,
        )
        with (
            (workspace.run_folder(run_id) / EVENTS).open("w", encoding="utf-8") as kept,
            os.fdopen(read_fd, encoding="utf-8") as stream,
            _running(job, log, lock_fd, temporary) as process,
        ):
            for line in stream:
                with contextlib.suppress(OSError):  # a full disk ends the run soon enough
                    kept.write(line)
                    kept.flush()
                event = events.parse(line)
                if isinstance(event, events.NodeChanged):
                    nodes[event.node] = event
                elif isinstance(event, events.Outcome):
                    outcome = event
                elif isinstance(event, events.NotAnswered):
                    not_answered = event
                on_event(event)
            return_code = process.wait()
        exit_code, message = verdict.of_local_run(
            list(nodes.values()),
            outcome,
            not_answered,
            return_code,
            is_partial=until is not None,
            last_line=_last_line(log),
        )
        record = RunRecord(
            run_id=run_id,
            pipeline=config.name,
            seconds=time.monotonic() - start_s,
            exit_code=exit_code,
            message=message,
            nodes=tuple(nodes.values()),
            outcome=outcome,
        )
        workspace.save(record)
        values = record.model_dump(include=set(events.RunEnded.model_fields))
        on_event(events.RunEnded(**values, time=datetime.now(UTC)))
    return record


def follow(workspace: Workspace, run_id: str) -> Iterator[events.Event]:
    """The events of a run that another process started: those so far, and each new one.

    It ends when the run does. The last event is missing: see the record of the run.

    Raises:
      PipelineError: the run wrote no events; it is one of an older release.
    """
    path = workspace.run_folder(run_id) / EVENTS
    while not path.exists() and workspace.is_in_use:
        time.sleep(_POLL_INTERVAL_S)
    try:
        stream = path.open(encoding="utf-8")
    except FileNotFoundError as error:
        raise PipelineError(f"{path} does not exist; the run {run_id} wrote no events.") from error
    with stream:
        line = ""
        while True:
            found = run_record.read(path.with_name("run.json"))
            is_going_on = workspace.is_in_use and not (found and found.exit_code is not None)
            while part := stream.readline():
                line += part
                if line.endswith("\n"):  # else it is being written
                    yield events.parse(line)
                    line = ""
            if not is_going_on:
                return
            time.sleep(_POLL_INTERVAL_S)


def _last_line(log: Path) -> str:
    """The last line of text in a log; empty if there is none."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LONGEST_LINE))
        lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


@contextlib.contextmanager
def _running(job: Job, log: Path, lock_fd: int, temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """A context with the process, which has the job, its end of the pipe, and the lock.

    The process ends if its standard input is closed, also because this process was killed; until
    then no other run can use the workspace.
    """
    with contextlib.ExitStack() as stack:
        try:
            process = stack.enter_context(
                child_process.running(
                    [sys.executable, "-m", WORKER],
                    leads_group=True,  # a component may have started a model server
                    stdin=subprocess.PIPE,
                    stdout=stack.enter_context(log.open("wb")),
                    stderr=subprocess.STDOUT,
                    pass_fds=[job.events_fd, lock_fd],
                    env={**os.environ, "TMPDIR": str(temporary)},
                    text=True,
                )
            )
        finally:
            os.close(job.events_fd)
        assert process.stdin is not None
        # Closing the pipe flushes it once more.
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(f"{job.model_dump_json()}\n")
            process.stdin.flush()
            yield process


def new_run_id(workspace: Workspace) -> str:
    """The time as a name that sorts after all earlier runs, also if the clock was set back."""
    moment = datetime.now(UTC)
    for folder in workspace.root.glob("runs/*"):
        with contextlib.suppress(ValueError):  # a folder that the user made
            earlier = datetime.strptime(folder.name, _RUN_ID).replace(tzinfo=UTC)
            moment = max(moment, earlier + timedelta(microseconds=1))
    return moment.strftime(_RUN_ID)
