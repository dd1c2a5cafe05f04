"""The connection to a model server: its options, and TLS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

from serving.errors import ServingError
from serving.limits import MAX_MESSAGE_BYTES

OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Reconnect soon to a server that is starting.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


@dataclass(frozen=True)
class Tls:
    """The settings of a connection with TLS.

    Args:
      ca: the PEM file of the authority that signed the server's certificate; None for the
        system's authorities.
      certificate: the PEM file of the client's own certificate, if the server requires one.
      key: the PEM file of the private key of `certificate`.
      server_name: the name in the server's certificate, if it differs from the address.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Reads the files.

        Raises:
          ServingError: a file cannot be read, or is not a PEM file of its kind.
        """
        try:
            ca, certificate, key = (
                file.read_bytes() if file else None
                for file in (self.ca, self.certificate, self.key)
            )
        except OSError as error:
            raise ServingError(f"cannot read a TLS file: {error}.") from error
        for file, content, kind in (
            (self.ca, ca, b"CERTIFICATE"),
            (self.certificate, certificate, b"CERTIFICATE"),
            (self.key, key, b"PRIVATE KEY"),
        ):
            if content is not None and (b"-----BEGIN " not in content or kind not in content):
                raise ServingError(f"{file} contains no {kind.decode().lower()} in PEM format.")
        return grpc.ssl_channel_credentials(ca, key, certificate)

    def options(self) -> tuple[tuple[str, str], ...]:
        """Further options of the channel."""
        if self.server_name is None:
            return ()
        return (("grpc.ssl_target_name_override", self.server_name),)
