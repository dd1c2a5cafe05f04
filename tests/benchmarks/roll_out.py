"""Load on a server while versions come and go."""

from __future__ import annotations

import os
import pickle
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from doubles.model_server import predict_request
from tensorflow_serving.apis import predict_pb2

from benchmarks import load
from components import atomic_pusher
from serving import launcher
from serving.client import Client

BATCHING: Final = ("--enable_batching", "--file_system_poll_wait_seconds=0.5")

Row = dict[str, Any]


def measure(
    models: Sequence[Path],
    answers: Sequence[np.ndarray],
    images: np.ndarray,
    folder: Path,
    seconds: float,
) -> Row:
    """Load while new versions are pushed and a broken one is dropped in.

    Args:
      models: exported networks; the first is served at the start.
      answers: the probabilities of each network for `images`.
      images: uint8 [count, 28, 28]; the requests contain the first.
      folder: where to write.
      seconds: the duration.
    """
    base = folder / "roll-out"
    versions = [int(Path(atomic_pusher.push(str(models[0]), str(base))).name)]
    request = folder / "request"
    request.write_bytes(predict_request("mnist", images[:1]).SerializeToString())
    result: Row = {}
    memory: list[Row] = []
    with launcher.running("mnist", base, folder / "roll-out.txt", flags=BATCHING) as server:
        with Client(server.address, "mnist") as client:
            client.wait_until_ready(timeout_s=120, check=server.check)

        def ask() -> None:
            result.update(load.measure(server.address, request, 8, seconds, folder / "answers"))

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(seconds / 6)
        memory.append({"version": versions[0], "rss_mb": rss_mb(server.process.pid)})
        for number, model in enumerate(models[1:], start=1):
            pushed = atomic_pusher.push(str(model), str(base))
            versions.append(int(Path(pushed).name))
            time.sleep(seconds / 12)
            if number == 2:
                broken = base / str(versions[-1] + 1)
                shutil.copytree(model, broken)
                data = next((broken / "variables").glob("*.data*"))
                data.write_bytes(data.read_bytes()[:100_000])
            time.sleep(seconds / 12)
            memory.append({"version": versions[-1], "rss_mb": rss_mb(server.process.pid)})
            if number == 2:
                shutil.rmtree(broken)
        asking.join()
        memory.append({"version": "end", "rss_mb": rss_mb(server.process.pid)})
    received = pickle.loads((folder / "answers").read_bytes())
    seen: dict[int, int] = {}
    wrong = 0
    for answer in received:
        response = predict_pb2.PredictResponse.FromString(answer)
        version = response.model_spec.version.value
        seen[version] = seen.get(version, 0) + 1
        expected = answers[versions.index(version)][:1] if version in versions else np.nan
        if not np.allclose(
            np.array(response.outputs["probabilities"].float_val), expected, atol=1e-5
        ):
            wrong += 1
    return {
        "seconds": result["seconds"],
        "requests": result["requests"],
        "failed": result["failed"],
        "failures": result["failures"],
        "wrong_answers": wrong,
        "answers_of_versions": {str(version): seen.get(version, 0) for version in versions},
        "answers_of_other_versions": sum(n for v, n in seen.items() if v not in versions),
        "memory": memory,
    }


def rss_mb(pid: int) -> float:
    """The resident memory of a process, in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
