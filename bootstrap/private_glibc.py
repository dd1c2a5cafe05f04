"""Gives one Python interpreter a newer C library of its own, on an older Debian.

Some wheels that TFX needs are built for glibc 2.39 (`manylinux_2_39`). Where the
system has less, this unpacks the next Debian release's `libc6`, `libstdc++6` and
`libgcc-s1` into a folder of the virtual environment and points a *copy* of the
interpreter at them. pip and uv then accept the wheels, sub-processes that are
started through `sys.executable` inherit the library, and the rest of the system
stays as it was. No root is needed.

Packages come through the machine's own apt configuration with the release name
replaced, so they come from the mirror that the machine trusts already and are
verified with the keys that it has.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

REQUIRED = (2, 39)  # the `manylinux_2_39` of the ml-metadata and data-validation wheels
NEXT_RELEASE = {"bullseye": "trixie", "bookworm": "trixie"}  # trixie (13) has glibc 2.41
PACKAGES = ("libc6", "libstdc++6", "libgcc-s1")
# Loaded by the interpreter itself, so that no extension module can pull in the
# system's older copy first. libpthread and its like are empty in glibc 2.34+, but
# older wheels still name them.
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

Run = Callable[[Sequence[str | Path]], str]


class UnsupportedSystemError(Exception):
    """The system's C library is too old and cannot be supplemented."""


def is_needed() -> bool:
    """Whether the running interpreter's glibc is older than the wheels ask for."""
    return system_version() < REQUIRED


def system_version() -> tuple[int, ...]:
    """The glibc version of the running interpreter; (0,) where it is not glibc."""
    library, version = platform.libc_ver()
    if library != "glibc":
        return (0,)
    return tuple(int(part) for part in re.findall(r"\d+", version))


def release_to_borrow_from() -> str:
    """The Debian release whose C library is used.

    Raises:
      UnsupportedSystemError: this is not a Debian release that is known to work.
    """
    system = _os_release()
    successor = NEXT_RELEASE.get(system.get("VERSION_CODENAME", ""))
    if system.get("ID") != "debian" or successor is None:
        version = ".".join(map(str, system_version()))
        found = "no glibc" if version == "0" else f"glibc {version}"
        raise UnsupportedSystemError(
            f"{system.get('PRETTY_NAME', 'this system')} has {found}, and TFX 1.21 needs glibc "
            f"{'.'.join(map(str, REQUIRED))}: use Ubuntu 24.04, Debian 12 or 13, or the container "
            "image debian:trixie-slim."
        )
    return successor


def install(environment: Path, patchelf: Path, run: Run) -> None:
    """Points every interpreter in `environment`/bin at a private, newer glibc.

    Args:
      environment: a virtual environment made with `--copies`.
      patchelf: the patchelf program.
      run: runs one command, returns its output and raises when it fails.
    """
    libraries = environment / "glibc"
    with tempfile.TemporaryDirectory(prefix="glibc-") as scratch:
        unpacked = Path(scratch) / "root"
        for package in fetch_debs(PACKAGES, release_to_borrow_from(), Path(scratch), run):
            run(["dpkg-deb", "-x", package, unpacked])
        shutil.rmtree(libraries, ignore_errors=True)
        libraries.mkdir()
        for found in sorted(unpacked.rglob("*.so*")):
            if found.parent.name == "x86_64-linux-gnu":
                shutil.copy2(found, libraries / found.name)  # copies what a link points to

    original = Path(os.path.realpath(environment / "bin" / "python"))
    home = Path(os.path.realpath(_base_interpreter(environment))).parent
    own_rpath = run([patchelf, "--print-rpath", original]).strip().replace("$ORIGIN", str(home))
    rpath = ":".join(part for part in (str(libraries), own_rpath) if part)
    for python in sorted((environment / "bin").glob("python*")):
        if python.is_symlink():
            continue
        # A copy is changed and moved into place: a running program's file stays whole.
        changed = python.with_name(f".{python.name}.new")
        shutil.copy2(python, changed)
        needed = [argument for name in PRELOADED for argument in ("--add-needed", name)]
        run([patchelf, "--set-interpreter", libraries / "ld-linux-x86-64.so.2", changed])
        run([patchelf, "--force-rpath", "--set-rpath", rpath, *needed, changed])
        changed.replace(python)


def fetch_debs(packages: Sequence[str], release: str, scratch: Path, run: Run) -> list[Path]:
    """Downloads Debian packages of `release` into `scratch`, with private package lists."""
    sources = scratch / "sources.list"
    sources.write_text("\n".join(_sources(_os_release()["VERSION_CODENAME"], release)) + "\n")
    for folder in ("lists/partial", "cache/archives/partial", "debs"):
        (scratch / folder).mkdir(parents=True)
    apt = [
        "apt-get",
        "-q",
        *("-o", f"Dir::State::Lists={scratch / 'lists'}"),
        *("-o", f"Dir::Cache={scratch / 'cache'}"),
        *("-o", f"Dir::Etc::SourceList={sources}"),
        *("-o", "Dir::Etc::SourceParts=-"),
        *("-o", "Acquire::Languages=none"),
        *("-o", "Acquire::Retries=2"),
        *("-o", "APT::Sandbox::User="),
    ]
    run([*apt, "update"])
    run(["env", "-C", scratch / "debs", *apt, "download", *packages])
    return sorted((scratch / "debs").glob("*.deb"))


def _sources(current: str, release: str) -> list[str]:
    """The machine's own apt sources for `current`, in one-line format, for `release`.

    Only the main archive is taken: `-updates` and `-security` are other suites.
    """
    lines = []
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    for file in files:
        if not file.is_file():
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        if file.suffix == ".sources":
            for stanza in re.split(r"\n\s*\n", text):
                fields = dict(re.findall(r"^([\w-]+):[ \t]*(.*)$", stanza, re.MULTILINE))
                if fields.get("Enabled") == "no" or current not in fields.get("Suites", "").split():
                    continue
                key = fields.get("Signed-By", "").strip()
                option = f"[signed-by={key}] " if key.startswith("/") else ""
                lines += [f"deb {option}{uri} {release} main" for uri in fields["URIs"].split()]
        elif file.suffix == ".list":
            pattern = rf"^deb\s+(\[[^\]]*\]\s+)?(\S+)\s+{re.escape(current)}\s"
            for option, uri in re.findall(pattern, text, re.MULTILINE):
                lines.append(f"deb {option}{uri} {release} main")
    if not lines:
        raise UnsupportedSystemError(
            f"no apt source for Debian's {current} was found under /etc/apt, so its successor's "
            "C library cannot be fetched: restore the sources, or use the container image "
            "debian:trixie-slim."
        )
    return lines


def _base_interpreter(environment: Path) -> str:
    """The interpreter that the environment was made from, from its pyvenv.cfg."""
    settings = (environment / "pyvenv.cfg").read_text(encoding="utf-8")
    fields = dict(re.findall(r"^(\S+)\s*=\s*(.*)$", settings, re.MULTILINE))
    return fields.get("executable") or str(Path(fields["home"]) / "python3")


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}
