"""The commit and the hardware of a run."""

import subprocess
from pathlib import Path

import pytest

from pipeline.local import machine


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    _git(tmp_path, "init", "--quiet")
    (tmp_path / "code.py").write_text("1")
    _git(tmp_path, "add", "code.py")
    _git(tmp_path, "commit", "--quiet", "--message", "first")
    monkeypatch.setattr(machine, "_SOURCE", tmp_path)
    return tmp_path


def test_the_commit_is_that_of_the_checkout(checkout: Path) -> None:
    head = _git(checkout, "rev-parse", "HEAD")
    assert machine.facts()["commit"] == head
    (checkout / "code.py").write_text("2")
    assert machine.facts()["commit"] == f"{head}, with changes"


def test_an_installed_package_in_another_repository_has_none(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / "site-packages").mkdir()
    monkeypatch.setattr(machine, "_SOURCE", checkout / "site-packages")
    assert "commit" not in machine.facts()


def test_the_hardware_is_named() -> None:
    facts = machine.facts()
    assert "processors used" in facts["processor"]
    assert facts["memory"].endswith(" GiB") and int(facts["memory"].split()[0]) > 0
