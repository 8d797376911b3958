"""Secrets at rest, encrypted with AES-256-GCM.

sealed:v1:<key id>:<base64 of nonce + ciphertext + tag>

The account and the kind of secret are authenticated with it, so that a sealed value cannot be moved to
another place. Several keys make a rotation: the first seals, all open. Without a key values are stored
as the first BotAPI did, and sealed ones cannot be read.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from redis.asyncio import Redis

from actors.accounts.names import folded, is_text
from actors.errors import CannotUnseal
from actors.redis.client import Script, redis_call

MARK: Final = "sealed:v1:"
KEY_SIZE: Final = 32  # bytes
NONCE_SIZE: Final = 12  # bytes, random: far below 2^32 values are ever sealed under one key
KEY_ID_SIZE: Final = 8  # hex digits


class Encryption:
    """Seals and opens. `keys`: each 32 bytes; empty for none."""

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        self._keys = {_key_id(key): AESGCM(key) for key in keys}
        self._newest = next(iter(self._keys), None)

    @property
    def is_sealing(self) -> bool:
        """Whether new values are sealed."""
        return self._newest is not None

    def seal(self, kind: str, account: str, plain: str) -> str:
        """Return what to store for `plain`."""
        if self._newest is None:
            return plain
        nonce = os.urandom(NONCE_SIZE)
        box = self._keys[self._newest].encrypt(nonce, plain.encode(), _place(kind, account))
        return f"{MARK}{self._newest}:{base64.b64encode(nonce + box).decode('ascii')}"

    def open(self, kind: str, account: str, stored: str) -> str:
        """Return the plain value; what was never sealed is returned as it is.

        Raises:
            CannotUnseal: no key of ours opens it; nothing is lost, the right key still does.
        """
        if not stored.startswith(MARK):
            return stored
        key_id, _, text = stored.removeprefix(MARK).partition(":")
        key = self._keys.get(key_id)
        if key is None:
            raise CannotUnseal(account, kind)
        try:
            box = base64.b64decode(text, validate=True)
            return key.decrypt(box[:NONCE_SIZE], box[NONCE_SIZE:], _place(kind, account)).decode()
        except (InvalidTag, binascii.Error, ValueError):
            raise CannotUnseal(account, kind) from None


def parse_keys(text: str) -> tuple[bytes, ...]:
    """Read keys as an operator writes them: base64 of 32 bytes each, separated by commas or spaces.

    Raises:
        ValueError: one is not that; the text is not repeated in the error.
    """
    keys = []
    for number, word in enumerate(text.replace(",", " ").split(), start=1):
        try:
            urlsafe = set(word) & {"-", "_"}
            key = base64.b64decode(word, altchars=b"-_" if urlsafe else None, validate=True)
        except ValueError:  # binascii.Error is one
            key = b""
        if len(key) != KEY_SIZE:
            raise ValueError(f"key {number} is not base64 of {KEY_SIZE} bytes")
        keys.append(key)
    return tuple(keys)


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"botapi key id" + key).hexdigest()[:KEY_ID_SIZE]


def _place(kind: str, account: str) -> bytes:
    return f"{kind}\0{account}".encode()


SCAN: Final = 1000  # fields of a hash at once


async def closed_values(redis: Redis, hashes: Mapping[str, str], sealer: Encryption) -> int:
    """Return how many stored values are sealed when no key of ours opens any; 0 when one opens.

    Args:
        redis: where they are.
        hashes: kind of secret -> the key of the hash that holds it by account.
        sealer: with our keys.

    Raises:
        StoreUnavailable, StoreMisused: see `redis.errors.translated`.
    """
    closed = 0
    with redis_call(redis, "closed_values"):
        for kind, key in hashes.items():
            async for account, value in redis.hscan_iter(key, count=SCAN):
                if not value.startswith(MARK):
                    continue
                try:
                    sealer.open(kind, account, value)
                except CannotUnseal:
                    closed += 1
                else:
                    return 0
    return closed


async def seal_plain_values(redis: Redis, hashes: Mapping[str, str], sealer: Encryption) -> int:
    """Seal every value that is stored plain and drop it from the log on disk; return how many.

    A value that changes meanwhile stays as it was changed. Arguments and errors as `closed_values`.
    """
    if not sealer.is_sealing:
        return 0
    script, sealed = Script(__package__, "replace_field"), 0
    for kind, key in hashes.items():
        for account, value in await _plain_values(redis, key):
            box = sealer.seal(kind, account, value)
            sealed += await script.run(redis, [key], [account, value, box])
    if sealed:
        with redis_call(redis, "seal_plain_values"):
            await redis.bgrewriteaof()  # the append-only file still has the plain values
    return sealed


async def _plain_values(redis: Redis, key: str) -> list[tuple[str, str]]:
    """Return account and value of each that can be sealed: of an account's name, and a text."""
    found: list[tuple[Any, Any]] = []
    with redis_call(redis, "seal_plain_values"):
        async for account, value in redis.hscan_iter(key, count=SCAN):
            found.append((account, value))
    return [
        (account, value)
        for account, value in found
        if value and not value.startswith(MARK) and is_text(value) and folded(account) is not None
    ]
