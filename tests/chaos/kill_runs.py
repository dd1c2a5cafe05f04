"""Kills runs at random moments in every component, and checks what is left.

    python tests/chaos/kill_runs.py [--kills 100] [--seed SEED]

Each round makes one component run again, by deleting its artifacts, and sends a signal while it is
running: SIGKILL to all processes, to `mnist-tfx` alone or to the worker alone, or SIGTERM or SIGINT
to `mnist-tfx`. Some rounds send it during the start instead. After each round no process may be
left, the workspace must be free, and each pushed version must be complete. Every few rounds a run
goes to its end: it must push the same weights as a run that was never killed, and the command
`mnist-tfx doctor` must find nothing.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from components.names.node_ids import NodeId
from pipeline.runs.workspace import Workspace
from serving import version_folders

PROJECT: Final = Path(__file__).parents[2]
DATA: Final = PROJECT / "tests" / "data"
MARKER: Final = "MNIST_TFX_CHAOS"  # in the environment of every process of a round
TIMEOUT_S: Final = 600.0
END_TIMEOUT_S: Final = 60.0
START: Final = "the start"

ALL, COMMAND, WORKER = "all processes", "mnist-tfx", "the worker"
ATTACKS: Final = (
    (signal.SIGKILL, ALL),
    (signal.SIGKILL, COMMAND),
    (signal.SIGKILL, WORKER),
    (signal.SIGTERM, COMMAND),
    (signal.SIGINT, COMMAND),
)


class ChaosError(AssertionError):
    """A promise was broken."""


@dataclass
class Chaos:
    """A workspace that is attacked."""

    workspace: Workspace
    random: random.Random
    reference: set[str] = field(default_factory=set)
    """The digests of the weights that runs to the end pushed; one."""

    seconds: dict[str, float] = field(default_factory=lambda: {START: 8.0})
    """How long each component ran when nothing stopped it."""

    def attack(self, place: str, number: signal.Signals, target: str) -> str:
        """Sends a signal while a component is running, or during the start, and checks.

        Returns:
          What was done.
        """
        if place != START:
            shutil.rmtree(self.workspace.artifacts / place, ignore_errors=True)
        marker = uuid.uuid4().hex
        before = set(self._logs())
        process = self._start(marker)
        try:
            if place != START and not self._wait_for(place, before, process):
                raise ChaosError(f"{place} did not run: {process.communicate()[1]}")
            moment_s = self.random.uniform(0, self.seconds.get(place, 0.1))
            time.sleep(moment_s)
            for pid in _targets(target, process.pid, marker):
                os.kill(pid, number)
            _, error = process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()
        done = f"{number.name} to {target}, {moment_s:.2f} s after {place} began"
        self._check(process.returncode, error, number, target, marker, done)
        return f"{done}: exit code {process.returncode}"

    def finish(self) -> None:
        """Runs the pipeline to its end, and checks that the kills changed nothing."""
        process = self._start(uuid.uuid4().hex)
        output, error = process.communicate(timeout=TIMEOUT_S)
        if process.returncode:
            raise ChaosError(f"a run after the kills failed: {output}{error}")
        for node in self.workspace.records()[-1].nodes:
            if node.state == "done":
                self.seconds[node.node] = node.seconds
        newest = self.workspace.served_versions("digits")[-1]
        variables = self.workspace.serving("digits") / str(newest) / "variables"
        self.reference.add(version_folders.digest(variables))
        if len(self.reference) > 1:
            raise ChaosError(f"version {newest} has other weights than those before")
        if "answered by version" not in output:
            raise ChaosError(f"the pushed model did not answer: {output}")
        if (self.workspace.root / "tmp").exists():
            raise ChaosError("the temporary folder is left")
        examined = _cli("doctor", "--root", str(self.workspace.root))
        if examined.returncode:
            raise ChaosError(f"doctor found: {examined.stdout}{examined.stderr}")

    def _start(self, marker: str) -> subprocess.Popen[str]:
        options = ["--config", str(DATA / "digits.toml"), "--data-dir", str(DATA / "digits")]
        return subprocess.Popen(
            [*_COMMAND, "run", *options, "--root", str(self.workspace.root)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
            env={**os.environ, MARKER: marker},
            # SIGINT is ignored in the background jobs of a shell.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def _logs(self) -> list[Path]:
        return list(self.workspace.root.glob("runs/*/log.txt"))

    def _wait_for(self, node: str, before: set[Path], process: subprocess.Popen[str]) -> bool:
        """Waits until a component is running; False if the run ended before."""
        sign = f"'node': '{node}', 'state': 'running'"
        while process.poll() is None:
            for log in set(self._logs()) - before:
                if sign in log.read_text(encoding="utf-8", errors="replace"):
                    return True
            time.sleep(0.02)
        return False

    def _check(
        self,
        return_code: int,
        error: str,
        number: signal.Signals,
        target: str,
        marker: str,
        done: str,
    ) -> None:
        deadline_s = time.monotonic() + END_TIMEOUT_S
        # A process that ends loses its environment before it closes its files.
        while (left := _marked(marker)) or self.workspace.is_in_use:
            if time.monotonic() > deadline_s:
                raise ChaosError(f"{done}: processes {left} are left, or the lock")
            time.sleep(0.05)
        # A signal after the last moment of a run finds no process to stop.
        expected = {0, 1} if target == WORKER else {0, 130} if number != signal.SIGKILL else {0, -9}
        if return_code not in expected or "Traceback" in error:
            raise ChaosError(f"{done}: exit code {return_code}, {error}")
        self._check_state(done)

    def _check_state(self, done: str) -> None:
        pushed = version_folders.find(self.workspace.serving("digits")).values()
        for folder in pushed:
            for name in _FILES:
                if not (folder / name).stat().st_size:
                    raise ChaosError(f"{done}: {folder / name} is empty")
        digests = collections.Counter(map(version_folders.digest, pushed))
        if digests and max(digests.values()) > 1:
            raise ChaosError(f"{done}: the same model was pushed twice: {sorted(pushed)}")
        if self._logs():
            status = _cli("status", "--root", str(self.workspace.root))
            if status.returncode:
                raise ChaosError(f"{done}: status says {status.stderr}")


_COMMAND: Final = (sys.executable, "-m", "pipeline.cli")
_FILES: Final = (
    "saved_model.pb",
    "variables/variables.index",
    "variables/variables.data-00000-of-00001",
    "assets.extra/tf_serving_warmup_requests",
)


def _cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_COMMAND, *arguments], capture_output=True, text=True, check=False, cwd=PROJECT
    )


def _marked(marker: str) -> list[int]:
    """The living processes of a round."""
    sign = f"{MARKER}={marker}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if sign in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:  # it ended, or is not ours
            continue
    return found


def _targets(target: str, pid: int, marker: str) -> list[int]:
    if target == COMMAND:
        return [pid]
    marked = _marked(marker)
    if target == ALL:
        return marked
    commands = {found: _command_line(found) for found in marked}
    return [found for found, command in commands.items() if b"\0pipeline.local\0" in command]


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def main() -> None:
    """Attacks a new workspace; ends with exit code 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--rounds", type=int, default=8, help="rounds between two runs to the end")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="mnist-tfx-chaos-") as folder:
        chaos = Chaos(Workspace(Path(folder) / "workspace"), random.Random(arguments.seed))
        chaos.finish()
        places = [*NodeId, START]
        places.remove(NodeId.ACCEPTED_SPANS)  # the resolvers have no artifacts to delete
        places.remove(NodeId.CHAMPION_RESOLVER)
        chaos.random.shuffle(places)
        for kill in range(arguments.kills):
            attack = chaos.random.choice(ATTACKS)
            print(kill + 1, chaos.attack(places[kill % len(places)], *attack), flush=True)
            if (kill + 1) % arguments.rounds == 0:
                chaos.finish()
        chaos.finish()
    print(f"survived {arguments.kills} kills; every run after them pushed the same weights")


if __name__ == "__main__":
    main()
