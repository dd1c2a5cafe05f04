"""The commands that maintain a workspace: doctor, prune."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer
from rich.console import Console

from pipeline.cli.app import MAINTENANCE, App
from pipeline.cli.options import RootOption
from pipeline.settings import defaults
from pipeline.settings.errors import ExitCode, PipelineError
from pipeline.view import native_output

app = App()
console = Console()


@app.add_command(group=MAINTENANCE, example="mnist-tfx doctor --repair")
def doctor(
    root: RootOption = defaults.ROOT,
    is_repairing: Annotated[
        bool, typer.Option("--repair", help="Repair what is safe to repair.")
    ] = False,
) -> None:
    """Check this machine and a workspace: its records, metadata, artifacts and pushed versions.

    The exit code is 1 if something is wrong and was not repaired.
    """
    from pipeline.runs.workspace import Workspace

    workspace = Workspace(root.resolve())
    left = repaired = 0
    with contextlib.ExitStack() as stack:
        if workspace.exists:
            stack.enter_context(workspace.exclusively())
        stack.enter_context(native_output.muted())
        from pipeline.runs import doctor

        examination = doctor.Examination(workspace)
        for finding in examination.findings():
            if is_repairing and finding.repair is not None:
                finding.repair()
                repaired += 1
                action = "done"
            else:
                left += 1
                action = "to do" if finding.repair is None else "with --repair"
            text = f"{finding.problem}\n  {action}: {finding.advice}"
            console.print(text, highlight=False, soft_wrap=True, markup=False)
    for line in examination.summary():
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    if left:
        raise typer.Exit(ExitCode.FAILED)
    if not workspace.exists:
        text = f"No problem was found on this machine; {workspace.root} is no workspace yet."
    elif repaired:
        text = f"Every problem in {workspace.root} is repaired."
    else:
        text = f"No problem was found in {workspace.root}."
    console.print(text, highlight=False, soft_wrap=True)


@app.add_command(group=MAINTENANCE, example="mnist-tfx prune --keep 10 --dry-run")
def prune(
    keep: Annotated[int, typer.Option(min=1, help="The number of runs to keep.")],
    root: RootOption = defaults.ROOT,
    is_dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Remove nothing; print what would be removed.")
    ] = False,
) -> None:
    """Remove old runs, and the artifacts that nothing refers to any longer.

    The pushed versions, their runs and their lineage are kept.
    """
    from pipeline.runs import pruning
    from pipeline.runs.workspace import Workspace

    workspace = Workspace(root.resolve())
    if not workspace.exists:
        raise PipelineError(f"{workspace.root} is no workspace; choose another folder with --root.")
    with workspace.exclusively():
        planned = pruning.plan(workspace, keep)
        megabytes = planned.size_bytes / 1e6
        if is_dry_run:
            for folder in (*planned.runs, *planned.folders):
                print(folder)
        else:
            pruning.prune(workspace, planned)
    reason = f" ({planned.pushed} for the version that they pushed)" if planned.pushed else ""
    console.print(
        f"{'to remove' if is_dry_run else 'removed'}: runs {len(planned.runs)}, artifacts "
        f"{len(planned.artifacts)} ({megabytes:.1f} MB); kept: runs {planned.kept}{reason}",
        highlight=False,
        soft_wrap=True,
    )
