"""Folders that tests change, restored before each test, so that every test stands alone.

ML Metadata and the artifacts refer to each other by absolute paths: a copy elsewhere would not do.
"""

from __future__ import annotations

import shutil
from pathlib import Path


class Snapshot:
    """The content of a folder at one moment."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._copy = folder.with_name(f"{folder.name}.snapshot-{id(self)}")
        shutil.copytree(folder, self._copy, symlinks=True)

    def restore(self) -> Path:
        """Puts the folder back into that state."""
        shutil.rmtree(self._folder)
        return Path(shutil.copytree(self._copy, self._folder, symlinks=True))
