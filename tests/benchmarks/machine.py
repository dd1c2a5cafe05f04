"""The machine that a benchmark ran on, for its result."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile")


def describe() -> dict[str, object]:
    """Processor, cores, vector instructions, memory, and the versions that matter for speed."""
    names = {"model name": platform.processor(), "flags": ""}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        names[name.strip()] = value.strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": names["model name"],
        "cores": len(os.sched_getaffinity(0)),
        "instruction_sets": [name for name in INSTRUCTION_SETS if name in names["flags"].split()],
        "memory_gib": round(memory / 2**30),
        "python": platform.python_version(),
        "tensorflow": importlib.metadata.version("tensorflow"),
    }


def sentence() -> str:
    """The same in a line."""
    found = describe()
    sets = ", ".join(found["instruction_sets"])  # type: ignore[arg-type]
    return (
        f"{found['cores']} cores of {found['processor']} ({sets}), {found['memory_gib']} GiB, "
        f"Python {found['python']}, TensorFlow {found['tensorflow']}"
    )
