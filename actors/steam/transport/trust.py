"""What the transports trust: CA certificates for WebSocket, the universe key for TCP."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gevent import ssl as gevent_ssl
from steam.core.crypto import UniverseKey, rsa_import_key

from actors.errors import ServiceError

UNIVERSE_BITS: Final = 1024  # the size that the handshake has room for


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
