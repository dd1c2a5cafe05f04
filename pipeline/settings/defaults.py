"""Defaults that the command line and messages share. Standard library only."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path("workspace")
"""The folder of the workspace."""

NAME: Final = "mnist"
"""The name of the pipeline and of the model."""
