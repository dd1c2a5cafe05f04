"""Fixtures for tests of whole runs: the command line, and finished runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from doubles.snapshots import Snapshot

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


@pytest.fixture(scope="session")
def first_run(
    tmp_path_factory: pytest.TempPathFactory, digits: Path, digits_config: Path
) -> tuple[LocalRuns, subprocess.CompletedProcess[str], Snapshot]:
    """One run of the sample to its end, and a snapshot of it."""
    folder = tmp_path_factory.mktemp("local")
    data = Path(shutil.copytree(digits, folder / "data"))
    runs = LocalRuns(folder / "workspace", data, digits_config)
    done = runs.run()
    assert done.returncode == 0, done.stdout + done.stderr
    return runs, done, Snapshot(folder)


@pytest.fixture(scope="session")
def second_run(
    first_run: tuple[LocalRuns, subprocess.CompletedProcess[str], Snapshot],
) -> tuple[LocalRuns, Snapshot]:
    """After the first, a run with another seed, whose model is pushed as well."""
    runs, _, snapshot = first_run
    snapshot.restore()
    done = runs.run("--set", "trainer.seed=2")
    assert done.returncode == 0, done.stdout + done.stderr
    return runs, Snapshot(runs.root.parent)


@pytest.fixture
def finished(
    first_run: tuple[LocalRuns, subprocess.CompletedProcess[str], Snapshot],
) -> LocalRuns:
    """A workspace with one finished run, as it was right after it."""
    runs, _, snapshot = first_run
    snapshot.restore()
    return runs


@pytest.fixture
def two_models(second_run: tuple[LocalRuns, Snapshot]) -> LocalRuns:
    """A workspace with two pushed models, as it was right after the second run."""
    runs, snapshot = second_run
    snapshot.restore()
    return runs
