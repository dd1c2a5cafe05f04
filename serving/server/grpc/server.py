"""The gRPC server: its services, its address, its health."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import grpc
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from serving.errors import ServerStartError
from serving.limits import MAX_MESSAGE_BYTES
from serving.server import config_files
from serving.server.grpc import service_descriptors, services
from serving.server.grpc.health import Health
from serving.server.grpc.service_descriptors import MODEL_SERVICE, PREDICTION_SERVICE
from serving.server.request_handler import RequestHandler


def create(
    handler: RequestHandler,
    max_connections: int,
    channel_arguments: Sequence[tuple[str, int | str]] = (),
) -> tuple[grpc.aio.Server, Health]:
    """A server with TF Serving's services, health and reflection; it does not listen yet.

    Args:
      handler: answers the requests.
      max_connections: the number of connections above which new ones are closed.
      channel_arguments: further options of gRPC.
    """
    server = grpc.aio.server(
        options=[
            # With SO_REUSEPORT two servers on one port would silently share its requests.
            ("grpc.so_reuseport", 0),
            ("grpc.max_allowed_incoming_connections", max_connections),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            *channel_arguments,
        ],
    )
    healthy = Health((PREDICTION_SERVICE, MODEL_SERVICE))
    healthy.add_to(server)
    server.add_generic_rpc_handlers(services.create(handler))
    names = (PREDICTION_SERVICE, MODEL_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server, service_descriptors.pool())
    return server, healthy


def listen(
    server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None
) -> str:
    """Binds an address; returns it with the port that was chosen for port 0.

    Raises:
      ServerStartError: the address is not available.
    """
    try:
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        causes = "the address is in use"
        if credentials is not None:
            causes += "; a key or certificate in --ssl_config_file is invalid"
        raise ServerStartError(
            f"gRPC cannot listen on {address}; see its message above. Possible causes: {causes}."
        ) from error
    return f"{address.rpartition(':')[0]}:{port}"


def credentials(file: Path | None) -> grpc.ServerCredentials | None:
    """The credentials in an `--ssl_config_file`; None without a file.

    Raises:
      ServerStartError: the file contains a mistake.
    """
    if file is None:
        return None
    config = config_files.ssl_config(file)
    if not config.server_key or not config.server_cert:
        raise ServerStartError(f"{file}: server_key and server_cert are required, as PEM texts.")
    if config.client_verify and not config.custom_ca:
        raise ServerStartError(f"{file}: client_verify requires custom_ca, the clients' authority.")
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )
