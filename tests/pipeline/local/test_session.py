"""The commands of one machine."""

import io
import threading
from pathlib import Path

from rich.console import Console

from pipeline.local import runner, session
from pipeline.runs.run_record import RunRecord
from pipeline.runs.workspace import Workspace
from pipeline.settings.errors import ExitCode


def test_the_watch_of_a_run_that_is_interrupted_ends_with_its_exit_code(tmp_path: Path) -> None:
    """A run that is interrupted leaves a record without an end."""
    workspace = Workspace(tmp_path)
    is_started, is_interrupted = threading.Event(), threading.Event()

    def hold_the_lock() -> None:
        with workspace.exclusively():
            workspace.save(RunRecord(run_id="20260101-000000", pipeline="mnist"))
            (workspace.run_folder("20260101-000000") / runner.EVENTS).touch()
            is_started.set()
            is_interrupted.wait(60)

    run = threading.Thread(target=hold_the_lock)
    run.start()
    is_started.wait(60)

    class Printed(io.StringIO):
        """Interrupts the run as soon as the watch has begun."""

        def write(self, text: str) -> int:
            is_interrupted.set()
            return super().write(text)

    printed = Printed()
    assert session.watch(workspace, Console(file=printed)) is ExitCode.INTERRUPTED
    run.join()
    command = f"mnist-tfx run --root {tmp_path}"
    assert f"was interrupted; the next `{command}` continues it." in printed.getvalue()
