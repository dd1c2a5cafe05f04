"""A workspace and a model server that live long: spans arrive, runs push, clients send requests.

    python tests/soak/long_life.py [--rounds 50] [--prune-every 25]

Each round adds a span of data, runs the pipeline on it, and runs it once more without a change,
which only reads the cache. `mnist-tfx prune` removes old runs every 25 rounds. Meanwhile one model
server serves the pushed versions, and two clients send requests. At the end: no request failed; the
server's memory, threads and files did not grow; and each prune brought the workspace back to the
same size, apart from the accepted data of each span, which stays.

Writes a line for each round to build/soak/rounds.jsonl, and the plot build/soak/rounds.svg.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from components.images import idx_format
from components.images.idx_format import ImagesAndLabels
from pipeline.runs.workspace import Workspace
from serving import launcher
from serving.client import Client

ROOT: Final = Path(__file__).parents[2]
DATA: Final = ROOT / "tests" / "data"
OUTPUT: Final = ROOT / "build" / "soak"
NAME: Final = "digits"
CLIENTS: Final = 2
CLIENT_PAUSE_S: Final = 0.05
KEPT_RUNS: Final = 5
OVERRIDES: Final = (
    "data.train_spans=2",
    "trainer.epochs=3",
    "serving.keep_versions=5",
    # Splits of a few hundred images differ by chance, and so do models of them.
    "validation.max_share_change=0.2",
    "validation.max_skew=0.6",
    "validation.max_drift=0.6",
    "validation.min_label_agreement=0.3",
    "robustness.images=20",
    "robustness.min_accuracy={}",
    "evaluation.min_accuracy=0.2",
    "evaluation.min_digit_accuracy='report'",
    "evaluation.max_loss=5.0",
    "evaluation.max_calibration_error=1.0",
    "evaluation.max_accuracy_drop='report'",
    "evaluation.max_digit_accuracy_drop='report'",
)
WARM_UP_ROUNDS: Final = 10
"""The server's memory grows in its first rounds, while TensorFlow's allocator fills its pools."""

MAX_GROWTH: Final = 1.2


@dataclass(frozen=True)
class Round:
    """What was measured after one round; sizes in MB of 10^6 bytes."""

    number: int
    result: str
    run_s: float
    cached_run_s: float
    metadata_mb: float
    workspace_mb: float
    files: int
    server_memory_mb: float
    server_threads: int
    server_open_files: int
    requests: int
    failures: int
    is_pruned: bool


class Load:
    """Clients that send one image after the other."""

    def __init__(self, address: str, image: np.ndarray):
        self.requests = 0
        self.failures: list[str] = []
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._ask, args=(address, image)) for _ in range(CLIENTS)
        ]

    def _ask(self, address: str, image: np.ndarray) -> None:
        with Client(address, NAME) as client:
            while not self._stopped.wait(CLIENT_PAUSE_S):
                try:
                    probabilities = client.predict(image).probabilities
                    failure = None if np.isclose(probabilities.sum(), 1, atol=1e-3) else "not 1"
                except Exception as error:
                    failure = f"{error}"
                with self._lock:
                    self.requests += 1
                    self.failures += [failure] if failure else []

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()


def main() -> int:
    """Runs the rounds, writes what was measured, and checks it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--prune-every", type=int, default=25)
    arguments = parser.parse_args()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    rounds: list[Round] = []
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as scratch,
        (OUTPUT / "rounds.jsonl").open("w", encoding="utf-8") as lines,
    ):
        for measured in _rounds(Path(scratch), arguments.rounds, arguments.prune_every):
            rounds.append(measured)
            lines.write(json.dumps(asdict(measured)) + "\n")
            lines.flush()
            print(measured, flush=True)
    _plot(rounds, OUTPUT / "rounds.svg")
    broken = _broken_promises(rounds)
    for promise in broken:
        print(f"broken: {promise}")
    print(
        f"{arguments.rounds} rounds, {rounds[-1].requests} requests, {rounds[-1].failures} failed; "
        f"the results are in {OUTPUT}"
    )
    return 1 if broken else 0


def _rounds(folder: Path, count: int, prune_every: int) -> Iterator[Round]:
    spans, workspace = folder / "spans", Workspace(folder / "workspace")
    train = idx_format.read_pair(*idx_format.find_pair(DATA / "digits", "train-*"))
    test = idx_format.read_pair(*idx_format.find_pair(DATA / "digits", "t10k-*"))
    _write_span(spans / "span-0", train, test, 0)
    _run(workspace, spans)
    with (
        launcher.running(
            NAME,
            workspace.serving(NAME),
            folder / "server.txt",
            flags=["--file_system_poll_wait_seconds=1"],
            kind=launcher.ServerKind.EMBEDDED,
        ) as server,
        contextlib.ExitStack() as stack,
    ):
        with Client(server.address, NAME) as client:
            client.wait_until_ready(timeout_s=120, check=server.check)
        load = stack.enter_context(Load(server.address, test.images[:1]))
        for number in range(1, count + 1):
            _write_span(spans / f"span-{number}", train, test, number)
            run_s = _run(workspace, spans)
            result = workspace.records()[-1].result

            def measured(is_pruned: bool) -> Round:
                server.check()
                return Round(
                    number=number,  # noqa: B023 - called at once
                    result=result,  # noqa: B023
                    run_s=run_s,  # noqa: B023
                    cached_run_s=_run(workspace, spans),
                    is_pruned=is_pruned,
                    requests=load.requests,
                    failures=len(load.failures),
                    **_sizes(workspace),
                    **_server(server.process.pid),
                )

            yield measured(is_pruned=False)
            if number % prune_every == 0:
                _cli("prune", "--keep", str(KEPT_RUNS), "--root", str(workspace.root))
                yield measured(is_pruned=True)


def _write_span(folder: Path, train: ImagesAndLabels, test: ImagesAndLabels, seed: int) -> None:
    """A part of the sample, chosen at random, and a bit darker: no image occurs in two spans."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    for prefix, pair, count in (("train", train, 300), ("t10k", test, 100)):
        chosen = generator.permutation(len(pair.images))[:count]
        darker = generator.integers(0, 30, pair.images.shape, np.uint8)
        images = np.where(pair.images > darker, pair.images - darker, 0)
        for kind, values in (("images-idx3", images), ("labels-idx1", pair.labels)):
            (folder / f"{prefix}-{kind}-ubyte").write_bytes(idx_format.serialize(values[chosen]))


def _run(workspace: Workspace, spans: Path) -> float:
    """Runs the pipeline on the newest span; returns how long it took, in s."""
    start_s = time.monotonic()
    options = [word for override in OVERRIDES for word in ("--set", override)]
    _cli(
        *("run", "--config", str(DATA / "digits.toml"), "--data-dir", str(spans)),
        *("--span", "latest", "--root", str(workspace.root), *options),
        accepted=(0, 3),
    )
    return time.monotonic() - start_s


def _cli(*arguments: str, accepted: tuple[int, ...] = (0,)) -> None:
    command = [sys.executable, "-m", "pipeline.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode not in accepted:
        raise AssertionError(f"{arguments[0]} ended with {done.returncode}: {done.stderr}")


def _sizes(workspace: Workspace) -> dict[str, Any]:
    sizes = [os.lstat(path).st_size for path in workspace.root.rglob("*") if not path.is_dir()]
    return {
        "metadata_mb": workspace.metadata.stat().st_size / 1e6,
        "workspace_mb": sum(sizes) / 1e6,
        "files": len(sizes),
    }


def _server(pid: int) -> dict[str, Any]:
    process = Path(f"/proc/{pid}")
    status = dict(re.findall(r"(\w+):\s+(\d+)", (process / "status").read_text()))
    return {
        "server_memory_mb": int(status["VmRSS"]) * 1024 / 1e6,
        "server_threads": int(status["Threads"]),
        "server_open_files": len(list((process / "fd").iterdir())),
    }


def _broken_promises(rounds: list[Round]) -> list[str]:
    found = []
    if rounds[-1].failures:
        found.append(f"{rounds[-1].failures} of {rounds[-1].requests} requests failed")
    settled = rounds[WARM_UP_ROUNDS:] or rounds
    for name in ("server_memory_mb", "server_threads", "server_open_files"):
        first, last = getattr(settled[0], name), getattr(settled[-1], name)
        if last > MAX_GROWTH * first:
            found.append(f"{name} grew from {first} to {last}")
    pruned = [found for found in rounds if found.is_pruned]
    if pruned and pruned[-1].workspace_mb > MAX_GROWTH * pruned[0].workspace_mb:
        found.append(
            f"the workspace after a prune grew from {pruned[0].workspace_mb:.0f} to "
            f"{pruned[-1].workspace_mb:.0f} MB"
        )
    return found


def _plot(rounds: list[Round], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 9), layout="constrained")
    panels = (
        ("a run that only reads the cache, s", "cached_run_s"),
        ("ML Metadata, MB", "metadata_mb"),
        ("workspace, MB", "workspace_mb"),
        ("memory of the model server, MB", "server_memory_mb"),
    )
    for axes, (title, name) in zip(figure.subplots(len(panels), sharex=True), panels, strict=True):
        axes.plot([found.number for found in rounds], [getattr(found, name) for found in rounds])
        for found in rounds:
            if found.is_pruned:
                axes.axvline(found.number, linestyle=":", color="gray")
        axes.set_title(title, loc="left")
        axes.set_ylim(bottom=0)
    axes.set_xlabel("rounds; dotted: prune")
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    sys.exit(main())
