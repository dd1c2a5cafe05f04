"""The layout of a serving folder, which TF Serving defines: one sub-folder for each version.

A version's name is a non-negative number; every other name is ignored, which is what makes
it safe to prepare a version beside the others, and to set one aside. The largest number is
the one that is served. Standard library only.
"""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path
from typing import Final

_WITHDRAWN: Final = ".withdrawn-"
_REMOVING: Final = ".removing-"


def find(base_path: Path) -> dict[int, Path]:
    """The versions in a folder, oldest first; none where the folder does not exist."""
    return _find(base_path, "")


def find_withdrawn(base_path: Path) -> dict[int, Path]:
    """The versions that were set aside by `serve`, oldest first."""
    return _find(base_path, _WITHDRAWN)


def serve(base_path: Path, version: int) -> None:
    """Makes a version the newest, in one step: newer ones are set aside, it is brought back.

    A server sees one version served before and the other after, whatever there is between
    them: all but the last change are to versions that it does not serve.

    Raises:
      KeyError: there is no such version.
      OSError: a folder cannot be renamed.
    """
    withdrawn = find_withdrawn(base_path)
    if version in withdrawn:
        withdrawn[version].rename(base_path / str(version))
    elif version not in find(base_path):
        raise KeyError(version)
    for newer, folder in find(base_path).items():
        if newer > version:
            folder.rename(base_path / f"{_WITHDRAWN}{newer}")
    flush(base_path)


def prune(base_path: Path, keep: int) -> list[int]:
    """Removes all but the `keep` newest versions, those that were set aside included.

    What is served stays. A version disappears in one step, whatever is in it.

    Returns:
      The versions that were removed.
    """
    served = find(base_path)
    every = {**find_withdrawn(base_path), **served}
    old = [v for v in sorted(every, reverse=True)[keep:] if v != max(served, default=None)]
    for version in old:
        removing = base_path / f"{_REMOVING}{uuid.uuid4().hex}"
        every[version].rename(removing)
        shutil.rmtree(removing, ignore_errors=True)
    return sorted(old)


def flush(folder: Path) -> None:
    """Returns when the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _find(base_path: Path, prefix: str) -> dict[int, Path]:
    if not base_path.is_dir():
        return {}
    found = {
        int(path.name.removeprefix(prefix)): path
        for path in base_path.iterdir()
        if path.name.startswith(prefix)
        and path.name.removeprefix(prefix).isdecimal()
        and path.is_dir()
    }
    return dict(sorted(found.items()))
