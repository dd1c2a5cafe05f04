"""Compares the embedded model server with calls of the same SavedModel in one process.

    make bench-serving [ARGS="--seconds 60 --out bench-serving.json"]

The network is the reference network with its initial weights, because weights do not change the
speed. In-process calls and requests alternate in one run; read the ratios. The server, the load
generator and the in-process calls share the cores of the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import tensorflow as tf
from doubles import saved_models
from doubles.model_server import predict_request
from rich.console import Console
from rich.table import Table
from tensorflow_serving.apis import predict_pb2

from components import atomic_pusher
from components.images import idx_format
from serving import launcher
from serving.client import Client
from serving.launcher import ServerKind
from trainer import features

DIGITS = Path(__file__).parents[1] / "data" / "digits"
LATENCY_SIZES = (1, 32)
BATCH_SIZES = (16, 32, 64, 128, 256)
CLIENTS = (1, 8, 32)
ROUNDS = 5
Row = dict[str, Any]


class Models:
    """Exported networks with different seeds, and their answers for the same images."""

    def __init__(self, folder: Path, images: np.ndarray, count: int):
        self.images = images
        self.folders = []
        self.answers = []
        graph = folder / "transform"
        saved_models.write_transform_graph(
            graph, idx_format.read_pair(*idx_format.find_pair(DIGITS, "t10k-*"))
        )
        for seed in range(count):
            target = folder / f"model-{seed}"
            saved_models.export(target, str(graph), seed)
            call = in_process(target)
            self.folders.append(target)
            self.answers.append(call(images))


def in_process(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The SavedModel as a function in this process, as TensorFlow's documentation has it."""
    module = tf.saved_model.load(str(folder))
    signature = module.signatures[features.PREDICT_IMAGES]

    def call(images: np.ndarray) -> np.ndarray:
        assert module  # it keeps the variables
        return signature(images=tf.constant(images))[features.PROBABILITIES].numpy()  # type: ignore[no-any-return]

    return call


def timed(call: Callable[[], object], count: int) -> list[float]:
    """The duration of each of `count` calls, in ms."""
    times = []
    for _ in range(count):
        start_s = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start_s))
    return times


def measure_latency(
    call: Callable[[np.ndarray], np.ndarray], address: str, images: np.ndarray
) -> list[Row]:
    """p50 and p99 of one request at a time, in process and from the server in turn."""
    rows = []
    with Client(address, "mnist") as client:
        for size in LATENCY_SIZES:
            batch = images[:size]
            count = 200 if size == 1 else 30
            direct: list[float] = []
            served: list[float] = []
            timed(partial(call, batch), 20)
            timed(partial(client.predict, batch), 20)
            for _ in range(ROUNDS):
                direct += timed(partial(call, batch), count)
                served += timed(partial(client.predict, batch), count)
            row: dict[str, float] = {"images": size}
            for name, times in (("in_process", direct), ("server", served)):
                row[f"{name}_p50_ms"], row[f"{name}_p99_ms"] = np.percentile(times, [50, 99])
            row["p50_difference_ms"] = row["server_p50_ms"] - row["in_process_p50_ms"]
            rows.append(row)
    return rows


def best_rate(call: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> tuple[float, int]:
    """The best images/s in process, and the batch size that it needs."""
    rates = []
    for size in BATCH_SIZES:
        batch = np.resize(images, (size, *images.shape[1:]))
        call(batch)
        rates.append((1000 * size / float(np.median(timed(partial(call, batch), 7))), size))
    return max(rates)


def load(address: str, request: Path, clients: int, seconds: float, answers: Path) -> Row:
    """Runs the load generator."""
    command = [sys.executable, Path(__file__).with_name("load.py"), address, request]
    done = subprocess.run(
        [*map(str, command), str(clients), str(seconds), str(answers)],
        check=True,
        capture_output=True,
        text=True,
    )
    result: Row = json.loads(done.stdout)
    return result


def measure_throughput(
    models: Models, addresses: dict[str, str], folder: Path, seconds: float
) -> list[Row]:
    """images/s of concurrent clients, with and without batching, and in process before each."""
    call = in_process(models.folders[0])
    rows = []
    for size in LATENCY_SIZES:
        request = folder / f"request-{size}"
        message = predict_request("mnist", models.images[:size])
        request.write_bytes(message.SerializeToString())
        for clients in CLIENTS:
            for name, address in addresses.items():
                best, at = best_rate(call, models.images)
                result = load(address, request, clients, seconds, folder / "answers")
                if result["failed"]:
                    raise RuntimeError(f"requests failed: {result['failures']}")
                rate = result["requests"] * size / result["seconds"]
                p50_ms, p99_ms = np.percentile(result["latencies_ms"], [50, 99])
                rows.append(
                    {
                        "images_per_request": size,
                        "clients": clients,
                        "server": name,
                        "images_per_s": rate,
                        "p50_ms": p50_ms,
                        "p99_ms": p99_ms,
                        "in_process_images_per_s": best,
                        "in_process_batch": at,
                        "ratio": rate / best,
                    }
                )
    return rows


def measure_roll_out(models: Models, folder: Path, seconds: float) -> Row:
    """Load while new versions are pushed and a broken one is dropped in."""
    base = folder / "roll-out"
    versions = [int(Path(atomic_pusher.push(str(models.folders[0]), str(base))).name)]
    request = folder / "request"
    request.write_bytes(predict_request("mnist", models.images[:1]).SerializeToString())
    result: Row = {}
    memory: list[Row] = []
    with launcher.running("mnist", base, folder / "roll-out.txt", flags=BATCHING) as server:
        with Client(server.address, "mnist") as client:
            client.wait_until_ready(timeout_s=120, check=server.check)

        def ask() -> None:
            result.update(load(server.address, request, 8, seconds, folder / "answers"))

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(seconds / 6)
        memory.append({"version": versions[0], "rss_mb": rss_mb(server.process.pid)})
        for number, model in enumerate(models.folders[1:], start=1):
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
    answers = pickle.loads((folder / "answers").read_bytes())
    seen: dict[int, int] = {}
    wrong = 0
    for answer in answers:
        response = predict_pb2.PredictResponse.FromString(answer)
        version = response.model_spec.version.value
        seen[version] = seen.get(version, 0) + 1
        expected = models.answers[versions.index(version)][:1] if version in versions else np.nan
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


BATCHING = ("--enable_batching", "--file_system_poll_wait_seconds=0.5")


def main() -> None:
    """Measures, prints the tables, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="of load while versions change")
    parser.add_argument("--each", type=float, default=8, help="seconds of load in each other row")
    parser.add_argument("--out", type=Path, default=Path("bench-serving.json"))
    options = parser.parse_args()
    console = Console()
    pair = idx_format.read_pair(*idx_format.find_pair(DIGITS, "t10k-*"))
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        folder = Path(scratch)
        models = Models(folder, pair.images[:32], count=4)
        base = folder / "mnist"
        atomic_pusher.push(str(models.folders[0]), str(base))
        parameters = folder / "batching.txt"
        parameters.write_text("max_batch_size { value: 128 }\nnum_batch_threads { value: 2 }\n")
        batching = ("--enable_batching", f"--batching_parameters_file={parameters}")
        with (
            launcher.running("mnist", base, folder / "one.txt", kind=ServerKind.EMBEDDED) as one,
            launcher.running(
                "mnist", base, folder / "batched.txt", flags=batching, kind=ServerKind.EMBEDDED
            ) as batched,
        ):
            addresses = {"one by one": one.address, "batching": batched.address}
            for server in (one, batched):
                with Client(server.address, "mnist") as client:
                    client.wait_until_ready(timeout_s=120, check=server.check)
            latency = measure_latency(in_process(models.folders[0]), one.address, models.images)
            print_rows(console, "one request at a time", latency)
            throughput = measure_throughput(models, addresses, folder, options.each)
            print_rows(console, "concurrent clients", throughput)
        roll_out = measure_roll_out(models, folder, options.seconds)
    console.print("load while three versions are pushed and a broken one is dropped in:")
    console.print_json(json.dumps(roll_out))
    result = {
        "machine": {"processor": platform.processor(), "cores": os.cpu_count()},
        "latency": latency,
        "throughput": throughput,
        "roll_out": roll_out,
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    console.print(f"written to {options.out}")


def print_rows(console: Console, title: str, rows: list[Row]) -> None:
    """A table with a column for each key."""
    table = Table(title=title, title_justify="left")
    for key in rows[0]:
        table.add_column(key.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*(f"{v:.2f}" if isinstance(v, float) else str(v) for v in row.values()))
    console.print(table)


if __name__ == "__main__":
    main()
