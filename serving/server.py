"""The embedded model server: TF Serving's gRPC protocol, in Python.

    python -m serving.server --model_name mnist --model_base_path DIR --port 8500

The flags are TF Serving's. It listens on the loopback interface unless told otherwise.
SIGTERM and SIGINT let requests in flight finish and end it with exit code 0.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from concurrent import futures
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving import servicer
from serving.errors import ServerStartError
from serving.model_store import ModelStore

_log = logging.getLogger(__name__)

HEALTHY_SERVICES = (
    "",
    "tensorflow.serving.PredictionService",
    "tensorflow.serving.ModelService",
)
MAX_MESSAGE_BYTES = 64 * 2**20


class Server:
    """A running server.

    Args:
      store: the model; it is started and stopped with the server.
      address: host and port; port 0 takes a free one.
      workers: how many requests are answered at a time.

    Raises:
      ServerStartError: the address cannot be listened on.
    """

    def __init__(self, store: ModelStore, address: str, workers: int = 8):
        self._store = store
        self._server = grpc.server(
            futures.ThreadPoolExecutor(workers, thread_name_prefix="rpc"),
            options=[
                # Two servers on one port would share its requests without a word.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            servicer.PredictionService(store), self._server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            servicer.ModelService(store), self._server
        )
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise ServerStartError(
                f"{address} cannot be listened on: another program has it; take another --port."
            ) from error

    def start(self) -> None:
        """Starts to answer. The model may still be loading: it is NOT_FOUND until then."""
        self._store.start()
        self._server.start()
        for service in HEALTHY_SERVICES:
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    def stop(self, grace_s: float = 10.0) -> None:
        """Refuses new requests, waits for those in flight, at most `grace_s`."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_s).wait()
        self._store.stop()


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.server", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--host", default="127.0.0.1", help="interface to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8500, help="gRPC port (%(default)s)")
    parser.add_argument("--model_name", default="default", help="(%(default)s)")
    parser.add_argument("--model_base_path", type=Path, required=True)
    parser.add_argument("--file_system_poll_wait_seconds", type=float, default=1.0)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    store = ModelStore(
        options.model_name, options.model_base_path, options.file_system_poll_wait_seconds
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        server = Server(store, f"{options.host}:{options.port}")
    except ServerStartError as error:
        print(f"serving: {error}", file=sys.stderr)
        return 1
    server.start()
    _log.info("listening on %s:%d", options.host, server.port)
    stop.wait()
    server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
