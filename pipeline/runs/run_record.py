"""The record of a run, `run.json` in its folder."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from components.names.node_ids import NodeId
from pipeline.runs.events import NodeChanged, Outcome
from pipeline.settings.errors import ExitCode


class RunRecord(BaseModel):
    """What is known of a run."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    pipeline: str
    seconds: float = 0
    exit_code: int | None = None
    """None from the start of the run to its end."""

    message: str = ""
    """Why the run did not end with a pushed model; empty if it did."""

    nodes: tuple[NodeChanged, ...] = ()
    outcome: Outcome | None = None

    @property
    def result(self) -> str:
        """One word: pushed, cached (the push was), rejected, failed or interrupted.

        A run without an end is "interrupted"; while it goes on, only the lock tells.
        """
        if self.exit_code == ExitCode.OK:
            pushes = [node for node in self.nodes if node.node == NodeId.ATOMIC_PUSHER]
            is_new = self.outcome is None or self.outcome.is_new_version
            is_pushed = is_new and any(node.state == "done" for node in pushes)
            return "pushed" if is_pushed else "cached"
        if self.exit_code in (None, ExitCode.INTERRUPTED):
            return "interrupted"
        return "rejected" if self.exit_code == ExitCode.REJECTED else "failed"

    @property
    def rejections(self) -> tuple[str, ...]:
        """Why the model or the data was rejected; empty if neither was."""
        if self.outcome:
            return self.outcome.rejections
        return tuple(reason for node in self.nodes for reason in node.rejections)


def read(path: Path) -> RunRecord | None:
    """The record in a file; None if it is damaged."""
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except ValidationError:
        return None


def of_damaged_file(path: Path) -> RunRecord:
    """The record of a failed run, for a file that cannot be read."""
    message = f"{path} is damaged; the log beside it shows what happened"
    run_id = path.parent.name
    return RunRecord(run_id=run_id, pipeline="-", exit_code=ExitCode.FAILED, message=message)
