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
    """Not a token of ours: malformed, or the signature does not fit."""


def sign(claims: Mapping[str, Any], key: ed25519.Ed25519PrivateKey) -> str:
    """Return the three base64url parts."""
    signed = f"{_part(orjson.dumps(_HEADER))}.{_part(orjson.dumps(dict(claims)))}"
    return f"{signed}.{_part(key.sign(signed.encode()))}"


def verify(token: str, key: ed25519.Ed25519PublicKey) -> dict[str, Any]:
    """Return the claims of a token whose signature is good; expiry is the caller's to judge.

    Raises:
        JwtError: malformed or forged.
    """
    parts = token.split(".")
    if len(parts) != _PARTS:
        raise JwtError("not three parts")
    try:
        key.verify(_bytes(parts[2]), f"{parts[0]}.{parts[1]}".encode())
        claims = orjson.loads(_bytes(parts[1]))
    except (InvalidSignature, binascii.Error, ValueError) as error:
        raise JwtError("malformed or forged") from error
    if not isinstance(claims, dict):
        raise JwtError("claims are not an object")
    return claims


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
