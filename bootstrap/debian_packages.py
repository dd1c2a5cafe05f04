"""Downloads Debian packages without root, with the machine's own apt configuration.

apt downloads them from the mirrors that the machine already uses and verifies them with
its keys. The package lists are private, so the system's own lists are not needed.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Sequence
from pathlib import Path

Run = Callable[[Sequence[str | Path]], str]
"""Runs one command, returns its output, and raises an exception if it fails."""


class NoSourceError(Exception):
    """The machine's apt has no source for its own release."""


def unpack(packages: Sequence[str], release: str, scratch: Path, run: Run) -> Path:
    """Downloads and unpacks packages of `release`; returns the folder with their files.

    Args:
      packages: their names.
      release: the code name of a release that the machine's mirrors have.
      scratch: an empty folder.
      run: see Run.

    Raises:
      NoSourceError: apt has no source for this machine's release.
    """
    sources = scratch / "sources.list"
    sources.write_text("\n".join(_sources(os_release()["VERSION_CODENAME"], release)) + "\n")
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
    for package in sorted((scratch / "debs").glob("*.deb")):
        run(["dpkg-deb", "-x", package, scratch / "root"])
    return scratch / "root"


def os_release() -> dict[str, str]:
    """The fields of the os-release file; empty if the system has none."""
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _sources(current: str, release: str) -> list[str]:
    """The machine's own apt sources for `current`, in one-line format, for `release`.

    Only of the main archive: `-updates` and `-security` are other suites.
    """
    lines = []
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    for file in files:
        if not file.is_file():
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        if file.suffix == ".sources":
            lines += _from_stanzas(text, current, release)
        elif file.suffix == ".list":
            pattern = rf"^deb\s+(\[[^\]]*\]\s+)?(\S+)\s+{re.escape(current)}\s+(.*)$"
            for option, uri, components in re.findall(pattern, text, re.MULTILINE):
                lines.append(f"deb {option}{uri} {release} {components}")
    if not lines:
        raise NoSourceError(
            f"/etc/apt has no source for {current}, which the set-up needs. Restore the sources "
            "or use the container image debian:trixie-slim."
        )
    return lines


def _from_stanzas(text: str, current: str, release: str) -> list[str]:
    """The sources in a file of the deb822 format."""
    lines = []
    for stanza in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^([\w-]+):[ \t]*(.*)$", stanza, re.MULTILINE))
        if fields.get("Enabled") == "no" or current not in fields.get("Suites", "").split():
            continue
        key = fields.get("Signed-By", "").strip()
        option = f"[signed-by={key}] " if key.startswith("/") else ""
        components = fields.get("Components", "main")
        lines += [f"deb {option}{uri} {release} {components}" for uri in fields["URIs"].split()]
    return lines
