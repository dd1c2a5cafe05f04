"""A request of 10,000 images, and a folder of 1,000 versions."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.identity_model import export_identity, processor_s
from serving import launcher
from serving.client import Client
from serving.launcher import ServerKind

IMAGES: Final = 10_000
SLICE: Final = 64  # images that the model gets at a time, here and in the server
VERSIONS: Final = (1, 1000)
IDLE_S: Final = 10.0
WAIT_S: Final = 120.0
Row = dict[str, Any]


def measure_large_request(
    call: Callable[[np.ndarray], np.ndarray], model: Path, images: np.ndarray, folder: Path
) -> list[Row]:
    """Seconds and memory of one request, against the model in process with the same images.

    Args:
      call: the model in process: uint8 [batch, 28, 28] to probabilities [batch, 10].
      model: the folder of the SavedModel.
      images: uint8 [count, 28, 28]; they are repeated.
      folder: for files of the server.
    """
    many = np.resize(images, (IMAGES, *images.shape[1:]))
    shutil.copytree(model, folder / "large" / "1")
    log = folder / "large.txt"
    with (
        launcher.running("mnist", folder / "large", log, kind=ServerKind.EMBEDDED) as server,
        Client(server.address, "mnist", timeout_s=600) as client,
    ):
        client.wait_until_ready(timeout_s=120, check=server.check)
        client.predict(many[:SLICE])
        call(many[:SLICE])
        Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")  # the peak begins anew
        before_mib = memory_mib(server.process.pid, "VmRSS")
        start_s = time.perf_counter()
        expected = [call(many[i : i + SLICE]) for i in range(0, IMAGES, SLICE)]
        in_process_s = time.perf_counter() - start_s
        answer = client.predict(many)
        server_s = time.perf_counter() - start_s - in_process_s
        peak_mib = memory_mib(server.process.pid, "VmHWM")
    difference = np.abs(answer.probabilities - np.concatenate(expected)).max()
    if difference > 1e-5:
        raise RuntimeError(f"the server's answers differ by {difference}")
    return [
        {
            "images": IMAGES,
            "in_process_s": in_process_s,
            "server_s": server_s,
            "ratio": server_s / in_process_s,
            "memory_before_mib": before_mib,
            "peak_mib": peak_mib,
        }
    ]


def measure_many_versions(folder: Path) -> list[Row]:
    """What a folder of many versions costs a server that serves the newest."""
    rows = []
    for count in VERSIONS:
        base = folder / f"versions-{count}"
        export_identity(base / "1")
        for version in range(2, count + 1):
            shutil.copytree(base / "1", base / str(version))
        start_s = time.perf_counter()
        log = folder / f"versions-{count}.txt"
        with (
            launcher.running("mnist", base, log, kind=ServerKind.EMBEDDED) as server,
            Client(server.address, "mnist") as client,
        ):
            client.wait_until_ready(timeout_s=300, check=server.check)
            ready_s = time.perf_counter() - start_s
            before_s = processor_s(server.process.pid)
            time.sleep(IDLE_S)
            idle_s = processor_s(server.process.pid) - before_s
            shutil.copytree(base / "1", folder / f"next-{count}")
            (folder / f"next-{count}").rename(base / str(count + 1))
            start_s = time.perf_counter()
            while client.predict(np.zeros((1, 28, 28), np.uint8)).version <= count:
                if time.perf_counter() - start_s > WAIT_S:
                    raise RuntimeError(f"version {count + 1} is not served after {WAIT_S} s")
                time.sleep(0.01)
            rows.append(
                {
                    "versions": count,
                    "ready_s": ready_s,
                    "memory_mib": memory_mib(server.process.pid, "VmRSS"),
                    "idle_processor_ms_per_s": 1000 * idle_s / IDLE_S,
                    "new_version_served_after_s": time.perf_counter() - start_s,
                }
            )
    return rows


def memory_mib(pid: int, name: str) -> float:
    """The resident memory of a process: VmRSS at this moment, VmHWM at most."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) / 1024
    raise ValueError(f"/proc/{pid}/status has no {name}")
