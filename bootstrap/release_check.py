"""Builds a release, and tries it as a user would: `make release-check`.

Builds the source distribution, and the wheel from it; installs the wheel into an empty environment
outside the repository; runs the pipeline on the sample there; prints the notes of the version from
CHANGELOG.md. The files stay in dist/. Standard library only.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import install

DIST: Final = install.ROOT / "dist"
EXPECTED: Final = (
    "LICENSE",
    "README.md",
    "CHANGELOG.md",
    "requirements.lock",
    "tests/data/digits.toml",
)


class ReleaseError(Exception):
    """The release is not ready; the message is one sentence."""


def main() -> int:
    """Returns the exit code: 0 if the release is ready."""
    try:
        check()
    except (ReleaseError, install.SetupError) as error:
        print(f"release-check: {error}", file=sys.stderr)
        return 1
    return 0


def check() -> None:
    """Raises ReleaseError if a step fails."""
    project = tomllib.loads((install.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    version = project["project"]["version"]
    notes = release_notes((install.ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    shutil.rmtree(DIST, ignore_errors=True)
    _uv("build", "--quiet", "--out-dir", DIST, install.ROOT)
    (source,) = DIST.glob("*.tar.gz")
    (wheel,) = DIST.glob("*.whl")
    with tempfile.TemporaryDirectory(prefix="mnist-tfx-release-") as folder:
        scratch = Path(folder)
        with tarfile.open(source) as archive:
            archive.extractall(scratch, filter="data")
        (unpacked,) = (path for path in scratch.iterdir() if path.is_dir())
        missing = [name for name in EXPECTED if not (unpacked / name).is_file()]
        if missing:
            raise ReleaseError(f"{source.name} does not contain {', '.join(missing)}.")
        _try(wheel, unpacked, scratch, version)
    for file in (source, wheel):
        print(f"{file}  {file.stat().st_size / 1e6:.1f} MB")
    print(f"\nNotes of version {version}:\n\n{notes}")


def release_notes(changelog: str, version: str) -> str:
    """The notes of a version; those of the next one if it has none yet.

    Raises:
      ReleaseError: there are none.
    """
    for title in (rf"{re.escape(version)}\b[^\n]*", "Unreleased"):
        found = re.search(rf"^## \[?{title}\]?\n++((?!## ).+?)(?=^## |\Z)", changelog, re.M | re.S)
        if found:
            return found[1].strip()
    raise ReleaseError(f"CHANGELOG.md has no notes of version {version}.")


def _try(wheel: Path, unpacked: Path, scratch: Path, version: str) -> None:
    """Installs the wheel, and runs it in a folder that contains nothing else."""
    environment, place = scratch / "environment", scratch / "place"
    place.mkdir()
    python = environment / "bin" / "python"
    install.make_environment(environment)
    install.give_glibc(environment)
    packages: list[str | Path] = [f"{wheel}[pipeline]", unpacked / "bootstrap" / "pyfarmhash"]
    lock = unpacked / "requirements.lock"
    _uv("pip", "install", "--quiet", "--python", python, "--constraint", lock, *packages)
    program = environment / "bin" / "mnist-tfx"
    printed = _run([program, "--version"], place)
    if printed.strip() != f"mnist-tfx {version}":
        raise ReleaseError(f"`mnist-tfx --version` printed {printed!r}; expected {version}.")
    data = unpacked / "tests" / "data"
    command: list[str | Path] = [program, "run", "--config", data / "digits.toml"]
    command += ["--data-dir", data / "digits", "--root", place / "workspace"]
    print(_run(command, place))


def _uv(*arguments: str | Path) -> None:
    uv = install.ENVIRONMENT / "tools" / "bin" / "uv"
    command, *rest = arguments
    install.run([uv, command, "--no-config", *rest], environment=install.uv_settings())


def _run(command: Sequence[str | Path], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise ReleaseError(f"`{command[0]}` ended with exit code {done.returncode}: {last}.")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
