"""`make fuzz`: runs each target with Atheris for a set time, and keeps what it finds.

    make fuzz ARGS="--seconds 300 idx_file picture"

Each target runs in a process of its own, with limits for the memory and for the time of one input.
Inputs that reach new code are kept in build/fuzz/, so that the next run goes on from there. The
input of a finding is written to build/fuzz/findings/. Correct the code, and move the file to
tests/fuzz/corpus/TARGET/: from then on, `make test` tries it.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from fuzz.targets import TARGETS

ROOT: Final = Path(__file__).parents[2]
FOUND: Final = ROOT / "build" / "fuzz"
CORPUS: Final = Path(__file__).parent / "corpus"
MEMORY_MIB: Final = 2048
"""The limit of a whole process; TensorFlow itself takes 700 MiB."""

INPUT_TIMEOUT_S: Final = 30
LARGEST_INPUT_BYTES: Final = 64 * 1024


def main() -> int:
    """Fuzzes the chosen targets, one after the other; returns the exit code."""
    arguments = argparse.ArgumentParser(prog="make fuzz", description="Fuzzes untrusted input.")
    arguments.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    arguments.add_argument("--seconds", type=int, default=60, help="per target; 60 by default")
    arguments.add_argument("--seed", type=int, default=0, help="0 for a new one each time")
    options = arguments.parse_args()
    if unknown := set(options.targets) - set(TARGETS):
        arguments.error(f"unknown targets: {', '.join(sorted(unknown))}")
    table = Table("target", "inputs", "memory, MiB", "outcome")
    failed = 0
    for name in options.targets or TARGETS:
        print(f"fuzzing {name} for {options.seconds} s ...", flush=True)
        inputs, memory, finding = _fuzz(name, options.seconds, options.seed)
        table.add_row(name, inputs, memory, finding or "no finding")
        failed += bool(finding)
    Console(width=120).print(table)
    return 1 if failed else 0


def _fuzz(name: str, seconds: int, seed: int) -> tuple[str, str, str]:
    """The number of inputs, the peak of the memory in MiB, and the finding or an empty text."""
    kept, findings = FOUND / name, FOUND / "findings"
    for folder in (kept, findings):
        folder.mkdir(parents=True, exist_ok=True)
    for seed_input in TARGETS[name].seeds():
        (kept / hashlib.sha256(seed_input).hexdigest()[:16]).write_bytes(seed_input)
    command = [
        *(sys.executable, "-m", "fuzz.atheris_target", name, str(kept)),
        *([str(CORPUS / name)] if (CORPUS / name).is_dir() else []),
        *(f"-max_total_time={seconds}", f"-seed={seed}", f"-timeout={INPUT_TIMEOUT_S}"),
        *(f"-rss_limit_mb={MEMORY_MIB}", f"-max_len={LARGEST_INPUT_BYTES}"),
        *(f"-artifact_prefix={findings}/{name}-", "-print_final_stats=1"),
    ]
    log = findings / f"{name}.log"
    with log.open("wb") as output:
        code = subprocess.run(command, stdout=output, stderr=output, check=False).returncode
    text = log.read_text(encoding="utf-8", errors="replace")
    inputs, memory = (
        found[-1] if (found := re.findall(pattern, text)) else "?"
        for pattern in (r"number_of_executed_units: +(\d+)", r"peak_rss_mb: +(\d+)")
    )
    if code == 0:
        return inputs, memory, ""
    written = re.findall(r"Test unit written to (\S+)", text)
    return inputs, memory, f"exit code {code}: {(written or [log])[-1]}"


if __name__ == "__main__":
    sys.exit(main())
