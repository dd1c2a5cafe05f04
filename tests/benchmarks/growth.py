"""What a run costs as the data grows: seconds, memory and bytes of each component.

    make bench-growth [ARGS="--images 10000 100000 --out growth.json"]

Each data set repeats MNIST's digits, each copy with other noise; it has a sixth as many test images
as training images. The Trainer trains on 10,000 images at every size, and the Evaluator tests no
corruptions, so only costs that depend on the data grow.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from components.images import idx_format
from components.images.idx_format import ImagesAndLabels
from components.names.node_ids import NodeId
from pipeline.local import session
from pipeline.settings import pipeline_config

TRAINED: Final = 10_000  # images that the Trainer trains on
TEST_SHARE: Final = 1 / 6
NOISE: Final = 20  # the largest change of a pixel
INTERVAL_S: Final = 0.2  # of the measurements of memory
NODES: Final = (
    NodeId.IDX_EXAMPLE_GEN,
    NodeId.STATISTICS_GEN,
    NodeId.IMAGE_VALIDATOR,
    NodeId.TRANSFORM,
    NodeId.TRAINER,
    NodeId.EVALUATOR,
    NodeId.RUN_REPORT,
)
OVERRIDES: Final = (
    "name=growth",
    "data.dataset=growth",
    f"trainer.train_images={TRAINED}",
    "trainer.epochs=1",
    "robustness.strengths={}",
    "robustness.min_accuracy={}",
    "serving.sample_requests=0",
    *(f"validation.{name}=0.5" for name in ("max_share_change", "max_skew", "max_drift")),
    "validation.max_duplicates=1000000",
    *(f"evaluation.{name}=report" for name in pipeline_config.EvaluationConfig.model_fields),
)


def main() -> None:
    """Measures each size, prints a table for each quantity, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 30_000, 100_000, 300_000])
    parser.add_argument("--out", type=Path, default=Path("growth.json"))
    options = parser.parse_args()
    console = Console()
    mnist = session.prepare_data(pipeline_config.load().data, None, console)
    sizes: dict[int, dict[str, Any]] = {}
    for images in options.images:
        folder = Path(tempfile.mkdtemp(prefix="growth-"))
        write_copies(mnist, folder, "train", images)
        write_copies(mnist, folder, "t10k", round(images * TEST_SHARE))
        sizes[images] = _measure(folder, folder / "workspace")
        shutil.rmtree(folder)
        console.print(f"{images:,} images: {sizes[images]['seconds']:.0f} s")
    for quantity in ("seconds", "memory_mb", "written_mb"):
        table = Table("component", *(f"{images:,}" for images in sizes), title=quantity)
        for node in NODES:
            cells = (f"{one['nodes'][node][quantity]:,.1f}" for one in sizes.values())
            table.add_row(node, *cells)
        console.print(table)
    result = {"machine": machine.describe(), "sizes": sizes}
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    console.print(f"{machine.sentence()}; written to {options.out}")


def write_copies(mnist: Path, folder: Path, prefix: str, count: int) -> None:
    """Writes a pair of IDX files with `count` images, copy by copy."""
    pair = idx_format.read_pair(*idx_format.find_pair(mnist, f"{prefix}-*"))
    shape = (count, *pair.images.shape[1:])
    with (
        (folder / f"{prefix}-images-idx3-ubyte").open("wb") as images_file,
        (folder / f"{prefix}-labels-idx1-ubyte").open("wb") as labels_file,
    ):
        images_file.write(idx_format.header(shape))
        labels_file.write(idx_format.header(shape[:1]))
        for images, labels in _copies(pair, count):
            images_file.write(images.tobytes())
            labels_file.write(labels.tobytes())


def _copies(pair: ImagesAndLabels, count: int) -> Iterator[ImagesAndLabels]:
    generator = np.random.default_rng(1)
    for start in range(0, count, len(pair.images)):
        images = pair.images[: count - start]
        noise = generator.integers(0, NOISE + 1, images.shape, np.uint8)
        changed = np.where(images > 0, np.maximum(images, noise + 1) - noise, 0)
        yield ImagesAndLabels(changed.astype(np.uint8), pair.labels[: count - start])


def _measure(data: Path, root: Path) -> dict[str, Any]:
    """One run: the seconds, the peak memory and the bytes written of each component."""
    options = [word for override in OVERRIDES for word in ("--set", override)]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "pipeline.cli", "run", "--json"),
            *("--data-dir", str(data), "--root", str(root), *options),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    memory = _Memory(process.pid)
    seconds: dict[str, float] = {}
    try:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["kind"] == "node":
                memory.node = event["node"] if event["state"] == "running" else ""
                seconds[event["node"]] = event["seconds"]
    finally:
        memory.stop()
        process.terminate()
        status = process.wait()
    if not seconds.keys() >= set(NODES):
        raise SystemExit(f"the run ended with {status}; its log is below {root}.")
    record = json.loads(next(root.glob("runs/*/run.json")).read_text())
    nodes = {
        node: {
            "seconds": seconds[node],
            "memory_mb": memory.peak_mb[node],
            "written_mb": _bytes_below(root / "artifacts" / node) / 1e6,
        }
        for node in NODES
    }
    return {"seconds": record["seconds"], "nodes": nodes}


class _Memory(threading.Thread):
    """Measures the largest process below another one, and keeps the peak during each component.

    Only memory of its own counts (RssAnon): the kernel can take back that of mapped files.
    """

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self._pid = pid
        self._stopped = threading.Event()
        self.node = ""
        self.peak_mb: dict[str, float] = {}
        self.start()

    def run(self) -> None:
        while not self._stopped.wait(INTERVAL_S):
            if node := self.node:
                largest = max(map(_memory_mb, _descendants(self._pid)), default=0.0)
                self.peak_mb[node] = max(largest, self.peak_mb.get(node, 0.0))

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def _descendants(pid: int) -> Iterator[int]:
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended
            children = tasks.read_text().split()
            for child in map(int, children):
                yield child
                yield from _descendants(child)


def _memory_mb(pid: int) -> float:
    status = ""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"RssAnon:\s+(\d+)", status)
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def _bytes_below(folder: Path) -> int:
    return sum(os.lstat(path).st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
