"""Runs the pipeline on this machine: BeamDagRunner, in a process of its own.

The process keeps the libraries' noise away from the screen: what it prints goes to
the run's log file, and only events come back (pipeline/events.py). This side imports
nothing heavy.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel

from pipeline import events
from pipeline.config import PipelineConfig
from pipeline.errors import ExitCode
from pipeline.workspace import RunRecord, Workspace
from serving import launcher

# Beam 2.77's default runner first tries to download another one, Prism.
BEAM_RUNNER = "--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"
LOG = "log.txt"


class Job(BaseModel):
    """What the process is told, on its standard input."""

    config: PipelineConfig
    root: Path
    data: Path
    run_id: str
    server: str | None
    until: str | None


def run(
    config: PipelineConfig,
    workspace: Workspace,
    data: Path,
    run_id: str,
    on_event: Callable[[events.Event], None],
    server: str | None = None,
    until: str | None = None,
) -> RunRecord:
    """Runs the pipeline to its end.

    Args:
      config: what to do.
      workspace: where to write.
      data: the folder with the four IDX files.
      run_id: the name of the run's folder; see `new_run_id`.
      on_event: called with each event, as it happens.
      server: the address of a model server on the workspace's serving folder, which is
        asked for a few digits of the test split once the model is pushed.
      until: the component to stop after, with all that it needs; None for the whole pipeline.

    Returns:
      What happened, a failure or a refusal included; it is kept in the workspace too.

    Raises:
      WorkspaceBusyError: another run is using the workspace.
    """
    start_s = time.monotonic()
    seen: dict[str, events.NodeChanged] = {}
    outcome: events.Outcome | None = None
    not_answered: events.NotAnswered | None = None
    with workspace.exclusively():
        log = workspace.run_folder(run_id) / LOG
        job = Job(
            config=config,
            root=workspace.root,
            data=data,
            run_id=run_id,
            server=server,
            until=until,
        )
        with log.open("wb") as log_file:
            process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.runners.local_process", BEAM_RUNNER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_file,
                text=True,
            )
        try:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(job.model_dump_json())
            process.stdin.close()
            for line in process.stdout:
                event = events.parse(line)
                if isinstance(event, events.NodeChanged):
                    seen[event.node] = event
                elif isinstance(event, events.Outcome):
                    outcome = event
                elif isinstance(event, events.NotAnswered):
                    not_answered = event
                on_event(event)
            return_code = process.wait()
        except BaseException:
            launcher.stop(process)
            raise
        exit_code, message = _judge(
            list(seen.values()), outcome, not_answered, return_code, is_whole=until is None
        )
        record = RunRecord(
            run_id=run_id,
            pipeline=config.name,
            seconds=time.monotonic() - start_s,
            exit_code=exit_code,
            message=message,
            nodes=tuple(seen.values()),
            outcome=outcome,
        )
        workspace.save(record)
    return record


def new_run_id() -> str:
    """A name that sorts by time."""
    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")


def _judge(
    nodes: list[events.NodeChanged],
    outcome: events.Outcome | None,
    not_answered: events.NotAnswered | None,
    return_code: int,
    is_whole: bool,
) -> tuple[ExitCode, str]:
    failed = next((node for node in nodes if node.state == "failed"), None)
    if failed and failed.refusals:
        return ExitCode.REFUSED, f"{failed.node} stopped the run: {failed.message}"
    if failed:
        return ExitCode.FAILED, f"{failed.node} failed: {failed.message}"
    if not is_whole and return_code == 0:
        return ExitCode.OK, ""
    if outcome is None or return_code != 0:
        running = [node.node for node in nodes if node.state == "running"]
        where = f" in {running[-1]}" if running else ""
        how = f"by signal {-return_code}" if return_code < 0 else f"with exit code {return_code}"
        return ExitCode.FAILED, f"the pipeline's process ended{where} {how}"
    if outcome.pushed is None:
        reasons = "; ".join(outcome.refusals) or "it was not blessed"
        return ExitCode.REFUSED, f"the model was not pushed: {reasons}"
    if not_answered:
        return ExitCode.FAILED, f"the model was pushed, but not served: {not_answered.message}"
    return ExitCode.OK, ""
