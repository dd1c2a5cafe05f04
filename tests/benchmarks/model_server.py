"""Compares the embedded model server with calls of the same SavedModel in one process.

    make bench-serving [ARGS="--seconds 60 --out bench-serving.json"]

The network is the reference network with its initial weights, because weights do not change the
speed. In-process calls and requests alternate in one run; read the ratios. The server, the load
generator and the in-process calls share the cores of the machine.
"""

from __future__ import annotations

import argparse
import http.client
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from doubles import saved_models
from doubles.model_server import predict_request
from rich.console import Console
from rich.table import Table

from benchmarks import extremes, identity_model, load, machine, roll_out
from components import atomic_pusher
from components.images import idx_format
from serving import addresses, launcher
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
        saved_models.write_transform_graph(graph)
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
    """p50 and p99 of one gRPC request at a time, in process and from the server in turn."""
    with Client(address, "mnist") as client:
        return [
            _in_turn(partial(call, images[:size]), partial(client.predict, images[:size]), size)
            for size in LATENCY_SIZES
        ]


def measure_rest(
    call: Callable[[np.ndarray], np.ndarray], address: str, images: np.ndarray
) -> list[Row]:
    """The same for REST requests, with the pixels as JSON numbers."""
    connection = http.client.HTTPConnection(address, timeout=60)

    def ask(body: str) -> None:
        connection.request("POST", "/v1/models/mnist:predict", body)
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == http.HTTPStatus.OK, content

    rows = []
    for size in LATENCY_SIZES:
        instances = images[:size].tolist()
        body = json.dumps({"signature_name": features.PREDICT_IMAGES, "instances": instances})
        rows.append(_in_turn(partial(call, images[:size]), partial(ask, body), size))
    connection.close()
    return rows


def _in_turn(direct: Callable[[], object], served: Callable[[], object], size: int) -> Row:
    times: dict[str, list[float]] = {"in_process": [], "server": []}
    calls = {"in_process": direct, "server": served}
    count = 200 if size == 1 else 30
    for call in calls.values():
        timed(call, 20)
    for _ in range(ROUNDS):
        for name, call in calls.items():
            times[name] += timed(call, count)
    row: Row = {"images": size}
    for name, found in times.items():
        row[f"{name}_p50_ms"], row[f"{name}_p99_ms"] = np.percentile(found, [50, 99])
    row["p50_difference_ms"] = row["server_p50_ms"] - row["in_process_p50_ms"]
    return row


def best_rate(call: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> tuple[float, int]:
    """The best images/s in process, and the batch size that it needs."""
    rates = []
    for size in BATCH_SIZES:
        batch = np.resize(images, (size, *images.shape[1:]))
        call(batch)
        rates.append((1000 * size / float(np.median(timed(partial(call, batch), 7))), size))
    return max(rates)


def measure_throughput(
    models: Models, servers: dict[str, str], folder: Path, seconds: float
) -> list[Row]:
    """images/s of concurrent clients, with and without batching, and in process before each."""
    call = in_process(models.folders[0])
    rows = []
    for size in LATENCY_SIZES:
        request = folder / f"request-{size}"
        message = predict_request("mnist", models.images[:size])
        request.write_bytes(message.SerializeToString())
        for clients in CLIENTS:
            for name, address in servers.items():
                best, at = best_rate(call, models.images)
                result = load.measure(address, request, clients, seconds, folder / "answers")
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
        rest_port = addresses.free_port()
        rest_flag = (f"--rest_api_port={rest_port}",)
        with (
            launcher.running(
                "mnist", base, folder / "one.txt", flags=rest_flag, kind=ServerKind.EMBEDDED
            ) as one,
            launcher.running(
                "mnist", base, folder / "batched.txt", flags=batching, kind=ServerKind.EMBEDDED
            ) as batched,
        ):
            servers = {"one by one": one.address, "batching": batched.address}
            for server in (one, batched):
                with Client(server.address, "mnist") as client:
                    client.wait_until_ready(timeout_s=120, check=server.check)
            latency = measure_latency(in_process(models.folders[0]), one.address, models.images)
            print_rows(console, "one request at a time", latency)
            rest = measure_rest(
                in_process(models.folders[0]), f"127.0.0.1:{rest_port}", models.images
            )
            print_rows(console, "one REST request at a time", rest)
            throughput = measure_throughput(models, servers, folder, options.each)
            print_rows(console, "concurrent clients", throughput)
        identity = identity_model.measure(folder, models.images, options.each / 2, ROUNDS)
        print_rows(console, "identity model, 8 clients", identity)
        large = extremes.measure_large_request(
            in_process(models.folders[0]), models.folders[0], models.images, folder
        )
        print_rows(console, "one large request", large)
        versions = extremes.measure_many_versions(folder)
        print_rows(console, "a folder of many versions", versions)
        rolled_out = roll_out.measure(
            models.folders, models.answers, models.images, folder, options.seconds
        )
    console.print("load while three versions are pushed and a broken one is dropped in:")
    console.print_json(json.dumps(rolled_out))
    result = {
        "machine": machine.describe(),
        "latency": latency,
        "rest_latency": rest,
        "identity": identity,
        "throughput": throughput,
        "large_request": large,
        "versions": versions,
        "roll_out": rolled_out,
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
