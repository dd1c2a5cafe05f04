"""The layout of a serving folder, which TF Serving defines: one sub-folder for each version.

The name of a version is a non-negative number; every other name is ignored. It is therefore safe
to prepare a version beside the others, and to set one aside. The largest number is served.
Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_WITHDRAWN: Final = ".withdrawn-"
_REMOVING: Final = ".removing-"
_STAGING: Final = ".staging-"
_DAMAGED: Final = ".damaged-"
_LARGEST: Final = 2**63 - 1  # the protocol's type is int64
_MAX_DIGITS: Final = len(str(_LARGEST))


def parse(name: str) -> int | None:
    """The version that a folder's name stands for; None for any other name."""
    # Python rejects to convert numbers of thousands of digits.
    if not _is_number(name) or len(name.lstrip("0")) > _MAX_DIGITS or int(name) > _LARGEST:
        return None
    return int(name)


def find(base_path: Path) -> dict[int, Path]:
    """The versions in a folder, oldest first; none if the folder does not exist."""
    return _find(base_path, "")


def find_too_large(base_path: Path) -> list[str]:
    """The names in a folder that are numbers, but too large for a version."""
    if not base_path.is_dir():
        return []
    names = (path.name for path in base_path.iterdir())
    return [name for name in names if _is_number(name) and parse(name) is None]


def find_withdrawn(base_path: Path) -> dict[int, Path]:
    """The versions that `serve` withdrew, oldest first."""
    return _find(base_path, _WITHDRAWN)


def serve(base_path: Path, version: int) -> None:
    """Makes a version the newest one: withdraws newer versions, restores it if it is withdrawn.

    A server switches from one version to the other in one step: all renames but the last concern
    versions that it does not serve.

    Raises:
      KeyError: the version does not exist.
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
    """Removes all but the `keep` newest versions, withdrawn ones included.

    The served version stays. A version disappears in one step.

    Returns:
      The removed versions.
    """
    served = find(base_path)
    every = {**find_withdrawn(base_path), **served}
    old = [v for v in sorted(every, reverse=True)[keep:] if v != max(served, default=None)]
    for version in old:
        removing = base_path / f"{_REMOVING}{uuid.uuid4().hex}"
        every[version].rename(removing)
        shutil.rmtree(removing, ignore_errors=True)
        for card in cards(base_path, version):
            card.unlink()
    return sorted(old)


@contextlib.contextmanager
def exclusively(base_path: Path) -> Iterator[None]:
    """A context in which no other process of this machine changes the versions in a folder.

    It waits for another push or roll-back, which takes less than a second.

    Raises:
      FileNotFoundError: the folder does not exist.
    """
    descriptor = os.open(base_path, os.O_RDONLY)
    try:
        # Some network file systems have no locks. A roll-back during a push can then fail there.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def cards_folder(base_path: Path) -> Path:
    """The folder of the model cards, which a server ignores: VERSION.md and VERSION.html."""
    return base_path / "model_cards"


def cards(base_path: Path, version: int) -> list[Path]:
    """The model cards of a version."""
    return sorted(cards_folder(base_path).glob(f"{version}.*"))


def new_staging_folder(base_path: Path) -> Path:
    """The path of a folder, not created yet, to prepare a version in."""
    return base_path / f"{_STAGING}{uuid.uuid4().hex}"


def set_aside(folder: Path) -> Path:
    """Renames the folder of a damaged version, so that no server reads it; returns the new one."""
    version = folder.name.removeprefix(_WITHDRAWN)
    return folder.rename(folder.with_name(f"{_DAMAGED}{version}-{uuid.uuid4().hex}"))


def restore(folder: Path, copy: Path) -> None:
    """Sets a damaged version aside, and puts a complete copy of `copy` in its place.

    These are two renames: a server may look between them and serve the version before for a moment.

    Raises:
      OSError: the copy failed; the version is as it was.
    """
    staging = new_staging_folder(folder.parent)
    try:
        shutil.copytree(copy, staging)
    except OSError:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    set_aside(folder)
    staging.rename(folder)
    flush(folder.parent)


def find_damaged(base_path: Path) -> list[Path]:
    """The folders that `set_aside` left."""
    return sorted(base_path.glob(f"{_DAMAGED}*"))


def find_left_over(base_path: Path) -> list[Path]:
    """The folders that a killed push or prune left; or that one is using now."""
    return [*base_path.glob(f"{_STAGING}*"), *base_path.glob(f"{_REMOVING}*")]


def sweep(base_path: Path) -> list[Path]:
    """Removes what a killed push or prune left; no other process may be changing the folder.

    Returns:
      The removed folders.
    """
    left = find_left_over(base_path)
    for folder in left:
        shutil.rmtree(folder, ignore_errors=True)
    return left


def digest(folder: Path) -> str:
    """The SHA-256 of a folder: of the names and the contents of all files in it."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{content} {path.relative_to(folder).as_posix()}\n".encode())
    return f"sha256:{whole.hexdigest()}"


def flush(folder: Path) -> None:
    """Writes the names in a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal()


def _find(base_path: Path, prefix: str) -> dict[int, Path]:
    if not base_path.is_dir():
        return {}
    found = {
        version: path
        for path in base_path.iterdir()
        if path.name.startswith(prefix)
        and (version := parse(path.name.removeprefix(prefix))) is not None
        and path.is_dir()
    }
    return dict(sorted(found.items()))
