"""Where a run happened: the commit of the code, and the hardware."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Final

_SOURCE: Final = Path(__file__).parents[2]
_GIB: Final = 2**30
_TIMEOUT_S: Final = 10.0


def facts() -> dict[str, str]:
    """By name; what cannot be found out is left out."""
    found = {
        "commit": _commit(),
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} processors used",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / _GIB:.0f} GiB",
        "system": platform.platform(),
    }
    return {name: value for name, value in found.items() if value}


def _commit() -> str:
    """The commit of the checkout that the code is in, with a note if files were changed."""
    if _git("rev-parse", "--show-toplevel") != str(_SOURCE):
        return ""  # an installed package, perhaps within another repository
    commit = _git("rev-parse", "HEAD")
    return f"{commit}, with changes" if commit and _git("status", "--porcelain", "-uno") else commit


def _git(*arguments: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(_SOURCE), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):  # there is no git, or a slow disk
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
