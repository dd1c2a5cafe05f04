"""The notes of a release; the rest of `make release-check` builds and installs for minutes."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bootstrap"))
import release_check

CHANGELOG = """# Changelog

## Unreleased

- next

## [1.1.0] - 2026-11-26

### Added

- new

## 1.0.0

- first
"""


@pytest.mark.parametrize(
    ("version", "notes"),
    [("1.1.0", "### Added\n\n- new"), ("1.0.0", "- first"), ("1.2.0", "- next")],
)
def test_the_notes_are_those_of_the_version(version: str, notes: str) -> None:
    assert release_check.release_notes(CHANGELOG, version) == notes


def test_without_notes_there_is_no_release() -> None:
    with pytest.raises(release_check.ReleaseError, match="has no notes of version 2.0"):
        release_check.release_notes("# Changelog\n", "2.0")
    with pytest.raises(release_check.ReleaseError):
        release_check.release_notes("# Changelog\n\n## Unreleased\n\n## 1.0\n\n- first\n", "2.0")
