"""Addresses to listen on: whether they are free, and whether they are on loopback."""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import Any

from serving.errors import ServerStartError


def check_free(host: str, port: int, flag: str = "--port") -> None:
    """Checks an address before anything is started.

    Without this check a client could ask the program that uses the port.

    Args:
      host: a name or an address; IPv6 with or without brackets.
      port: the port; 0 for any.
      flag: the option that sets the port, for the message.

    Raises:
      ServerStartError: the port is in use, or the host is not an address of this machine.
    """
    _bound_port(host, port, flag)


def free_port(host: str = "127.0.0.1") -> int:
    """A port that no program uses at this moment.

    Raises:
      ServerStartError: the host is not an address of this machine.
    """
    return _bound_port(host, 0, "--port")


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can reach a host; False for an unknown one."""
    try:
        return all(ipaddress.ip_address(address[4][0]).is_loopback for address in _resolved(host))
    except (OSError, ValueError):
        return False


def _bound_port(host: str, port: int, flag: str) -> int:
    try:
        family, kind, _, _, address = _resolved(host, port)[0]
        with socket.socket(family, kind) as probe:
            # As servers do: connections that have just been closed do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            bound: int = probe.getsockname()[1]
            return bound
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            message = f"{host}:{port} is in use by another program; choose another {flag}."
        elif isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            message = f"--host {host} is not an address of this machine ({error.strerror})."
        else:
            message = f"cannot listen on {host}:{port} ({error.strerror}); choose another {flag}."
        raise ServerStartError(message) from error


def _resolved(host: str, port: int | None = None) -> list[Any]:
    return socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
