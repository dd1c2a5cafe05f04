"""ML Metadata's gRPC service on the real store: the library's C++ code and SQLite.

No Python package contains the binary of the service, but the package has its protocol and its
engine.

    python mlmd_server.py --address 0.0.0.0:8080 --mysql-host HOST --mysql-user USER --database NAME
"""

import argparse
import signal
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import grpc
from ml_metadata.metadata_store.pywrap.metadata_store_extension import metadata_store as engine
from ml_metadata.proto import metadata_store_pb2, metadata_store_service_pb2

SERVICE = metadata_store_service_pb2.DESCRIPTOR.services_by_name["MetadataStoreService"]


def running(database: Path) -> AbstractContextManager[int]:
    """Runs a server on a SQLite file, at a free port of the loopback; yields the port."""
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(database)
    return serving(config, "127.0.0.1:0")


@contextmanager
def serving(config: metadata_store_pb2.ConnectionConfig, address: str) -> Iterator[int]:
    """Runs a server on a database, at an address; yields its port."""
    store = engine.CreateMetadataStore(
        config.SerializeToString(), metadata_store_pb2.MigrationOptions().SerializeToString()
    )
    one_at_a_time = threading.Lock()

    def handler(name: str) -> grpc.RpcMethodHandler:
        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            with one_at_a_time:
                response, message, code = getattr(engine, name)(store, request)
            if code:
                status = next(s for s in grpc.StatusCode if s.value[0] == code)
                context.abort(status, message.decode())
            return response  # type: ignore[no-any-return]

        return grpc.unary_unary_rpc_method_handler(answer)

    methods = {
        method.name: handler(method.name)
        for method in SERVICE.methods
        if hasattr(engine, method.name)
    }
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(SERVICE.full_name, methods)]
    )
    port = server.add_insecure_port(address)
    server.start()
    try:
        yield port
    finally:
        server.stop(grace=1).wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    for option in ("--address", "--mysql-host", "--mysql-user", "--database"):
        parser.add_argument(option, required=True)
    options = parser.parse_args()
    config = metadata_store_pb2.ConnectionConfig()
    config.mysql.host, config.mysql.port = options.mysql_host, 3306
    config.mysql.user, config.mysql.database = options.mysql_user, options.database
    with serving(config, options.address):
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
