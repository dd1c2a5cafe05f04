"""Digests of the project's own code, for the cache.

TFX's cache key holds what a component is given, not the code that runs: with
functions named by their module path, an edit of the trainer would look unchanged.
Each component is therefore given the digest of the modules that it runs.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Final

_CODE: Final = (".py", ".j2")  # templates are code, too


def of_modules(*names: str) -> str:
    """The digest of these modules' sources; a package stands for all code in its folder."""
    digest = hashlib.sha256()
    for name in sorted(names):
        for path in _sources(name):
            digest.update(f"{name}/{path.name}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def of_everything() -> str:
    """The digest of all code that a run may execute."""
    return of_modules(
        "components",
        "components.report",
        "pipeline",
        "pipeline.runners",
        "serving",
        "serving.server",
        "trainer",
    )


def _sources(name: str) -> list[Path]:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"there is no module {name} to take the digest of")
    origin = Path(spec.origin)
    if not spec.submodule_search_locations:
        return [origin]
    return sorted(path for path in origin.parent.iterdir() if path.suffix in _CODE)
