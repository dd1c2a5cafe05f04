"""Fixtures for tests of whole runs: finished runs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from doubles.local_runs import LocalRuns
from doubles.snapshots import Snapshot


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
