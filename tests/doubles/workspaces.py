"""Workspaces that runs left, without a run: tests/data has one of each format."""

from __future__ import annotations

import contextlib
import sqlite3
import tarfile
from pathlib import Path

from pipeline.runs.workspace import Workspace

_DATA = Path(__file__).parents[1] / "data"
_MADE_AT = "/srv/mnist-tfx/workspace"


def of_format(folder: Path, number: int) -> Workspace:
    """What a run left; its absolute paths become those of a folder."""
    with tarfile.open(_DATA / f"workspace-format-{number}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    moved = Workspace(folder / "workspace")
    for path in moved.root.glob("runs/*/run.json"):
        path.write_text(path.read_text().replace(_MADE_AT, str(moved.root)))
    columns = {
        "Artifact": "uri",
        "ArtifactProperty": "string_value",
        "ExecutionProperty": "string_value",
    }
    with contextlib.closing(sqlite3.connect(moved.metadata)) as connection, connection:
        for table, column in columns.items():
            connection.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)",
                (_MADE_AT, str(moved.root)),
            )
    return moved
