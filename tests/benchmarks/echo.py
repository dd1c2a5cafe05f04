"""A gRPC server that answers with the request: the least that a server in Python does.

python -m benchmarks.echo synchronous|asyncio PORT
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc

SERVICE = "tensorflow.serving.PredictionService"
THREADS = 4


def _handlers(answer: object) -> list[grpc.GenericRpcHandler]:
    method = grpc.unary_unary_rpc_method_handler(answer)
    return [grpc.method_handlers_generic_handler(SERVICE, {"Predict": method})]


def synchronous(address: str) -> None:
    """Handles requests in a pool of threads."""
    server = grpc.server(ThreadPoolExecutor(THREADS))
    server.add_generic_rpc_handlers(_handlers(lambda request, _: request))
    server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


async def asynchronous(address: str) -> None:
    """Handles requests in an event loop."""

    async def answer(request: bytes, _: grpc.aio.ServicerContext) -> bytes:
        return request

    server = grpc.aio.server()
    server.add_generic_rpc_handlers(_handlers(answer))
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    kind, port = sys.argv[1:]
    if kind == "asyncio":
        asyncio.run(asynchronous(f"127.0.0.1:{port}"))
    else:
        synchronous(f"127.0.0.1:{port}")
