"""JSON Web Tokens signed with Ed25519."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519

_HEADER: Final = {"typ": "JWT", "alg": "EdDSA"}
_PARTS: Final = 3


class JwtError(ValueError):
    """The token is malformed or its signature is wrong."""


def sign(claims: Mapping[str, Any], key: ed25519.Ed25519PrivateKey) -> str:
    """Return a signed token."""
    signed = f"{_encode(orjson.dumps(_HEADER))}.{_encode(orjson.dumps(dict(claims)))}"
    return f"{signed}.{_encode(key.sign(signed.encode()))}"


def verify(token: str, key: ed25519.Ed25519PublicKey) -> dict[str, Any]:
    """Return the claims of a token with a valid signature. Does not check the expiry.

    Raises:
        JwtError: malformed or forged.
    """
    parts = token.split(".")
    if len(parts) != _PARTS:
        raise JwtError("not three parts")
    try:
        key.verify(_decode(parts[2]), f"{parts[0]}.{parts[1]}".encode())
        claims = orjson.loads(_decode(parts[1]))
    except (InvalidSignature, binascii.Error, ValueError) as error:
        raise JwtError("malformed or forged") from error
    if not isinstance(claims, dict):
        raise JwtError("claims are not an object")
    return claims


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
