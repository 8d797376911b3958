"""The address of the API, taken before anything else starts, so that a clash costs nothing."""

from __future__ import annotations

import socket

from supervisor.settings import ConfigError


def listen(host: str, port: int) -> socket.socket:
    """Bind, without accepting anybody yet.

    Raises:
        ConfigError: the address is in use, not ours, or not an address.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return _bound(socket.socket(family, kind), address)
    except OSError as error:
        raise ConfigError(
            "",
            f"cannot listen on {host} port {port}: {error.strerror}; choose another http.port (or PORT)",
        ) from error


def _bound(listener: socket.socket, address: object) -> socket.socket:
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)  # type: ignore[arg-type] # whatever getaddrinfo has for this family
    except OSError:
        listener.close()
        raise
    return listener
