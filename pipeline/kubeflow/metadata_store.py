"""The connection of a task to ML Metadata; address and password come from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from ml_metadata import errors as mlmd_errors
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

from pipeline.runs import node_failure
from pipeline.settings.errors import ClusterError, ConfigError

METADATA_STORE: Final = "METADATA_STORE"  # mysql or grpc
METADATA_HOST: Final = "METADATA_HOST"
METADATA_PORT: Final = "METADATA_PORT"
METADATA_DATABASE: Final = "METADATA_DATABASE"
METADATA_USERNAME: Final = "METADATA_USERNAME"
METADATA_PASSWORD: Final = "METADATA_PASSWORD"  # noqa: S105 - a variable's name

ConnectionConfig: TypeAlias = (
    metadata_store_pb2.ConnectionConfig | metadata_store_pb2.MetadataStoreClientConfig
)


def connection(environment: Mapping[str, str]) -> ConnectionConfig:
    """The connection to the metadata store, from the variables `METADATA_*`.

    Raises:
      ConfigError: a variable is missing or invalid.
    """

    def value(name: str) -> str:
        if not environment.get(name):
            raise ConfigError(f"the environment variable {name} is not set in this container.")
        return environment[name]

    store, port = value(METADATA_STORE), value(METADATA_PORT)
    if not port.isdecimal():
        raise ConfigError(f"{METADATA_PORT} is {port!r}; expected the number of a port.")
    if store == "grpc":
        return metadata_store_pb2.MetadataStoreClientConfig(
            host=value(METADATA_HOST), port=int(port)
        )
    if store == "mysql":
        return metadata.mysql_metadata_connection_config(
            host=value(METADATA_HOST),
            port=int(port),
            database=value(METADATA_DATABASE),
            username=value(METADATA_USERNAME),
            password=value(METADATA_PASSWORD),
        )
    raise ConfigError(f"{METADATA_STORE} is {store!r}; expected mysql or grpc.")


def check(config: ConnectionConfig) -> None:
    """Raises ClusterError if the metadata store does not answer; its own messages say little."""
    try:
        with metadata.Metadata(config) as handle:
            handle.store.get_context_types()
    except (RuntimeError, mlmd_errors.StatusError) as error:
        reason = node_failure.one_line(error)
        if isinstance(config, metadata_store_pb2.MetadataStoreClientConfig):
            raise ClusterError(
                f"the metadata store, ML Metadata's gRPC service at {config.host}:"
                f"{config.port}, does not answer: {reason}"
            ) from error
        mysql = config.mysql
        raise ClusterError(
            f"the metadata store, MySQL at {mysql.host}:{mysql.port}, does not answer, or denies "
            f"{mysql.user} access to the database {mysql.database}; check that it is running, and "
            f"the username and password in the secret ({reason})."
        ) from error
