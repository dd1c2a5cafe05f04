"""Gives one Python interpreter a private, newer C library on an older Debian.

Some wheels that TFX requires are built for glibc 2.39 (`manylinux_2_39`). If the
system has an older one, this unpacks `libc6`, `libstdc++6` and `libgcc-s1` of the next
Debian release into a folder of the virtual environment, and links a *copy* of the
interpreter with them. pip and uv then accept the wheels, and subprocesses that start
through `sys.executable` use the same library. The rest of the system does not change.
Root is not needed.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
from pathlib import Path

import debian_packages

REQUIRED = (2, 39)  # the `manylinux_2_39` of the ml-metadata and data-validation wheels
NEXT_RELEASE = {"bullseye": "trixie", "bookworm": "trixie"}  # trixie (13) has glibc 2.41
PACKAGES = ("libc6", "libstdc++6", "libgcc-s1")
# The interpreter itself loads these, so that no extension module can load the system's
# older copy first. libpthread and some others are empty since glibc 2.34, but older
# wheels still require them.
PRELOADED = (
    "libstdc++.so.6",
    "libm.so.6",
    "libgcc_s.so.1",
    "libpthread.so.0",
    "libdl.so.2",
    "librt.so.1",
    "libutil.so.1",
    "libresolv.so.2",
)


class UnsupportedSystemError(Exception):
    """The system's C library is too old and cannot be supplemented."""


def is_needed() -> bool:
    """Whether the glibc of the running interpreter is older than the wheels require."""
    return system_version() < REQUIRED


def system_version() -> tuple[int, ...]:
    """The glibc version of the running interpreter; (0,) if it uses another C library."""
    library, version = platform.libc_ver()
    if library != "glibc":
        return (0,)
    return tuple(int(part) for part in re.findall(r"\d+", version))


def release_to_borrow_from() -> str:
    """The code name of the Debian release whose C library is used.

    Raises:
      UnsupportedSystemError: the system is not one of the tested Debian releases.
    """
    system = debian_packages.os_release()
    successor = NEXT_RELEASE.get(system.get("VERSION_CODENAME", ""))
    if system.get("ID") != "debian" or successor is None:
        version = ".".join(map(str, system_version()))
        found = "no glibc" if version == "0" else f"glibc {version}"
        raise UnsupportedSystemError(
            f"{system.get('PRETTY_NAME', 'this system')} has {found}; TFX 1.21 requires glibc "
            f"{'.'.join(map(str, REQUIRED))}. Use Ubuntu 24.04, Debian 12 or 13, or the container "
            "image debian:trixie-slim."
        )
    return successor


def install(environment: Path, patchelf: Path, run: debian_packages.Run) -> None:
    """Links every interpreter in `environment`/bin with a private, newer glibc.

    Args:
      environment: a virtual environment made with `--copies`.
      patchelf: the patchelf program.
      run: see debian_packages.Run.
    """
    libraries = environment / "glibc"
    with tempfile.TemporaryDirectory(prefix="glibc-") as scratch:
        release = release_to_borrow_from()
        unpacked = debian_packages.unpack(PACKAGES, release, Path(scratch), run)
        shutil.rmtree(libraries, ignore_errors=True)
        libraries.mkdir()
        for found in sorted(unpacked.rglob("*.so*")):
            if found.parent.name == "x86_64-linux-gnu":
                shutil.copy2(found, libraries / found.name)  # follows links

    original = Path(os.path.realpath(environment / "bin" / "python"))
    home = Path(os.path.realpath(_base_interpreter(environment))).parent
    own_rpath = run([patchelf, "--print-rpath", original]).strip().replace("$ORIGIN", str(home))
    rpath = ":".join(part for part in (str(libraries), own_rpath) if part)
    for python in sorted((environment / "bin").glob("python*")):
        if python.is_symlink():
            continue
        # A changed copy replaces the file atomically, because the file may be running.
        changed = python.with_name(f".{python.name}.new")
        shutil.copy2(python, changed)
        needed = [argument for name in PRELOADED for argument in ("--add-needed", name)]
        run([patchelf, "--set-interpreter", libraries / "ld-linux-x86-64.so.2", changed])
        run([patchelf, "--force-rpath", "--set-rpath", rpath, *needed, changed])
        changed.replace(python)


def _base_interpreter(environment: Path) -> str:
    """The path of the interpreter that created the environment, from its pyvenv.cfg."""
    settings = (environment / "pyvenv.cfg").read_text(encoding="utf-8")
    fields = dict(re.findall(r"^(\S+)\s*=\s*(.*)$", settings, re.MULTILINE))
    return fields.get("executable") or str(Path(fields["home"]) / "python3")
