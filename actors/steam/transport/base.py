"""What the transports share: their protocol, the trusted keys, and the TCP connect."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from gevent import socket
from gevent import ssl as gevent_ssl
from steam.core.crypto import UniverseKey, rsa_import_key

from actors.errors import ServiceError
from actors.steam.port import Server

CHUNK: Final = 65536  # bytes per read
ATTEMPT_S: Final = 2.0  # per address except the last; the longest delay that RFC 8305 allows
UNIVERSE_BITS: Final = 1024  # the size that the handshake has room for


class Transport(Protocol):
    """Sends and receives whole messages; open from construction on."""

    @property
    def local_ip(self) -> str:
        """The local address of the connection."""

    def send(self, message: bytes) -> None:
        """Send one message; blocks this greenlet while the network is slow. Raises OSError."""

    def receive(self) -> bytes:
        """Wait for one message.

        Raises:
            OSError: the connection is gone.
            ParseError: the server violates the protocol.
        """

    def keep_alive(self) -> None:
        """Send the transport's own keep-alive, if it has one. Raises OSError."""

    def close(self) -> None:
        """Close the socket; harmless when repeated."""


def dial(server: Server) -> Any:
    """Open a TCP connection to the first of the server's addresses that accepts.

    Each address except the last has ATTEMPT_S; the caller limits the whole.

    Raises:
        OSError: no address accepts; names each address and its error.
    """
    *before, last = (server.address, *server.others)
    failures = []
    for address in before:
        try:
            return _connect(address, server.port, ATTEMPT_S)
        except OSError as error:
            failures.append(f"{address}: {error}")
    try:
        return _connect(last, server.port, None)
    except OSError as error:
        if not failures:
            raise
        raise OSError("; ".join([*failures, f"{last}: {error}"])) from error


def _connect(address: str, port: int, timeout_s: float | None) -> Any:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(timeout_s)
        sock.connect((address, port))
        sock.settimeout(None)
    except BaseException:
        sock.close()
        raise
    return sock


class TrustError(ServiceError):
    """A certificate or key file cannot be used; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Trusted certificates and key. Shared by all bots, as a TLS context holds a whole store."""

    tls: Any  # gevent.ssl.SSLContext
    universe_key: Any  # an RSA public key

    @classmethod
    def load(cls, ca_file: Path | None, universe_key_file: Path | None) -> Trust:
        """Read the files; None means the system's certificates and Valve's public key.

        Raises:
            TrustError: a file cannot be read or has the wrong content.
        """
        return cls(_tls(ca_file), _universe_key(universe_key_file))


def _tls(ca_file: Path | None) -> Any:
    try:
        context = gevent_ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if ca_file is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(cafile=str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise TrustError(
            f"steam.ca_file {ca_file} is not a PEM file of certificates: {error}"
        ) from error
    return context


def _universe_key(path: Path | None) -> Any:
    if path is None:
        return UniverseKey.Public
    try:
        key = rsa_import_key(path.read_bytes())
    except (OSError, ValueError, IndexError, TypeError) as error:
        raise TrustError(
            f"steam.universe_key_file {path} is not an RSA public key: {error}"
        ) from error
    if key.size_in_bits() != UNIVERSE_BITS:
        raise TrustError(f"steam.universe_key_file {path} does not have {UNIVERSE_BITS} bits")
    return key
