"""The command line, and runs of the pipeline in a workspace of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.runs.run_record import RunRecord
from pipeline.runs.workspace import Workspace

TIMEOUT_S = 600


def cli(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs `mnist-tfx`."""
    defaults = {"timeout": TIMEOUT_S, "env": {**os.environ, "COLUMNS": "200"}}
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-m", "pipeline.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        **{**defaults, **options},
    )


@dataclass
class LocalRuns:
    """A workspace, and runs of the sample in it."""

    root: Path
    data: Path
    """A copy of the sample, for this workspace alone."""

    config: Path

    def run(self, *arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
        """`mnist-tfx run`; more arguments are added, the last of a kind wins."""
        fixed: list[str | Path] = [
            "--config",
            self.config,
            "--data-dir",
            self.data,
            "--root",
            self.root,
        ]
        return cli("run", *fixed, *arguments, **options)

    def call(
        self, *arguments: str | Path, name: str | None = "digits"
    ) -> subprocess.CompletedProcess[str]:
        """Another command on this workspace."""
        return cli(*arguments, "--root", self.root, *(["--name", name] if name else []))

    @property
    def last(self) -> RunRecord:
        """The record of the last run."""
        return Workspace(self.root).records()[-1]

    @property
    def states(self) -> dict[str, str]:
        """The state of each node in the last run."""
        return {node.node: node.state for node in self.last.nodes}

    def nodes_that_are(self, state: str) -> set[str]:
        """The nodes with a state in the last run."""
        return {node for node, found in self.states.items() if found == state}

    @property
    def versions(self) -> list[int]:
        """The served versions, oldest first."""
        return Workspace(self.root).served_versions("digits")
