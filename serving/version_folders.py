"""The layout of a serving folder, which TF Serving defines: one sub-folder for each version.

A version's name is a non-negative number; every other name is ignored, which is what makes
it safe to prepare a version beside the others. Standard library only.
"""

from __future__ import annotations

from pathlib import Path


def find(base_path: Path) -> dict[int, Path]:
    """The versions in a folder, oldest first; none where the folder does not exist."""
    if not base_path.is_dir():
        return {}
    found = {
        int(path.name): path
        for path in base_path.iterdir()
        if path.name.isdecimal() and path.is_dir()
    }
    return dict(sorted(found.items()))
