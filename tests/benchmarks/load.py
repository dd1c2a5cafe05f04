"""A load generator for the model server's benchmarks: clients that repeat one request.

    python -m benchmarks.load ADDRESS REQUEST_FILE CLIENTS SECONDS ANSWERS_FILE

Each client has its own connection and sends its next request after it gets the answer. Requests
and answers stay bytes, so that the generator uses little of the processor that it shares with the
server. Prints JSON: requests, failures, seconds, and latencies in ms.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc

PREDICT = "/tensorflow.serving.PredictionService/Predict"


async def ask(
    address: str,
    request: bytes,
    deadline_s: float,
    latencies: list[float],
    answers: list[bytes],
    failures: list[str],
) -> None:
    """One client."""
    async with grpc.aio.insecure_channel(address) as channel:
        predict = channel.unary_unary(PREDICT)
        await channel.channel_ready()
        while (start_s := time.monotonic()) < deadline_s:
            try:
                answers.append(await predict(request, timeout=30))
                latencies.append(time.monotonic() - start_s)
            except grpc.aio.AioRpcError as error:
                failures.append(f"{error.code().name}: {error.details()}")


def measure(
    address: str, request: Path, clients: int, seconds: float, answers: Path
) -> dict[str, Any]:
    """Runs the load generator in a process of its own; returns what it prints."""
    command = [sys.executable, "-m", "benchmarks.load", address, str(request)]
    done = subprocess.run(
        [*command, str(clients), str(seconds), str(answers)],
        check=True,
        capture_output=True,
        text=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


async def main() -> None:
    """Runs the clients and prints the results."""
    address, request_file, clients, seconds, answers_file = sys.argv[1:]
    request = Path(request_file).read_bytes()
    latencies: list[float] = []
    answers: list[bytes] = []
    failures: list[str] = []
    start_s = time.monotonic()
    deadline_s = start_s + float(seconds)
    await asyncio.gather(
        *(
            ask(address, request, deadline_s, latencies, answers, failures)
            for _ in range(int(clients))
        )
    )
    elapsed_s = time.monotonic() - start_s
    Path(answers_file).write_bytes(pickle.dumps(answers))
    result = {
        "requests": len(answers),
        "failures": failures[:20],
        "failed": len(failures),
        "seconds": elapsed_s,
        "latencies_ms": [1000 * latency for latency in latencies],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main())
