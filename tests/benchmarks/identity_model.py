"""The server with a model that does almost nothing, against servers that only echo."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from doubles.model_server import predict_request

from benchmarks import load
from serving import addresses, child_process, launcher
from serving.client import Client
from serving.launcher import ServerKind
from trainer import features

Row = dict[str, Any]


def export_identity(folder: Path) -> None:
    """A model that returns ten of the pixels: what is left of a request's time is the server's."""

    class Identity(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None, 28, 28], tf.uint8, name="images")])
        def predict(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
            flat = tf.cast(tf.reshape(images, [-1, 784]), tf.float32)
            return {features.PROBABILITIES: flat[:, :10]}

    model = Identity()
    tf.saved_model.save(model, str(folder), signatures={features.PREDICT_IMAGES: model.predict})


def measure(folder: Path, images: np.ndarray, seconds: float, rounds: int) -> list[Row]:
    """requests/s of 8 clients and processor time, of this server and of servers that only echo."""
    base = folder / "identity"
    export_identity(base / "1")
    request = folder / "request-identity"
    request.write_bytes(predict_request("mnist", images[:1]).SerializeToString())
    with contextlib.ExitStack() as stack:
        servers = {}
        for kind in ("synchronous", "asyncio"):
            port = addresses.free_port()
            command = [sys.executable, "-m", "benchmarks.echo", kind, str(port)]
            process = stack.enter_context(child_process.running(command))
            servers[f"{kind} echo"] = (f"127.0.0.1:{port}", process.pid)
        log = folder / "identity.txt"
        server = stack.enter_context(launcher.running("mnist", base, log, kind=ServerKind.EMBEDDED))
        with Client(server.address, "mnist") as client:
            client.wait_until_ready(timeout_s=120, check=server.check)
        servers["this server"] = (server.address, server.process.pid)
        rates: dict[str, list[float]] = {name: [] for name in servers}
        costs: dict[str, list[float]] = {name: [] for name in servers}
        for _ in range(rounds):
            for name, (address, pid) in servers.items():
                before_s = processor_s(pid)
                result = load.measure(address, request, 8, seconds, folder / "answers")
                if result["failed"]:
                    raise RuntimeError(f"requests failed: {result['failures']}")
                rates[name].append(result["requests"] / result["seconds"])
                costs[name].append(1000 * (processor_s(pid) - before_s) / result["requests"])
    best = max(float(np.median(rates[name])) for name in rates if name != "this server")
    return [
        {
            "server": name,
            "requests_per_s": float(np.median(rates[name])),
            "processor_ms_per_request": float(np.median(costs[name])),
            "ratio_to_best_echo": float(np.median(rates[name])) / best,
        }
        for name in servers
    ]


def processor_s(pid: int) -> float:
    """The processor time that a process has used, in s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
