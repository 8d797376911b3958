"""Encryption of stored secrets with AES-256-GCM.

    sealed:v1:<key id>:<base64 of nonce + ciphertext + tag>

The account and the kind of secret are authenticated with the value, so that it cannot be moved to another
place. With several keys the first encrypts and all decrypt: a rotation adds a key in front. Without a key
values are stored plain, as the first BotAPI did, and encrypted values cannot be read.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from redis.asyncio import Redis

from actors.accounts.formats import folded, is_text
from actors.errors import CannotDecrypt
from actors.redis.client import Script, redis_call

MARK: Final = "sealed:v1:"
KEY_SIZE: Final = 32  # bytes
NONCE_SIZE: Final = 12  # bytes, random: one key encrypts far fewer than 2^32 values
KEY_ID_SIZE: Final = 8  # hex digits
SCAN: Final = 1000  # fields of a hash per HSCAN


class Encryption:
    """Encrypts and decrypts. `keys`: 32 bytes each; none means that values stay plain."""

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        self._keys = {_key_id(key): AESGCM(key) for key in keys}
        self._newest = next(iter(self._keys), None)
        self.has_key = self._newest is not None  # new values are encrypted

    def encrypt(self, kind: str, account: str, plain: str) -> str:
        """Return what to store for `plain`."""
        if self._newest is None:
            return plain
        nonce = os.urandom(NONCE_SIZE)
        box = self._keys[self._newest].encrypt(nonce, plain.encode(), _place(kind, account))
        return f"{MARK}{self._newest}:{base64.b64encode(nonce + box).decode('ascii')}"

    def decrypt(self, kind: str, account: str, stored: str) -> str:
        """Return the plain value; a value that is not encrypted is returned unchanged.

        Raises:
            CannotDecrypt: no key decrypts it.
        """
        if not stored.startswith(MARK):
            return stored
        key_id, _, text = stored.removeprefix(MARK).partition(":")
        key = self._keys.get(key_id)
        if key is None:
            raise CannotDecrypt(account, kind)
        try:
            box = base64.b64decode(text, validate=True)
            return key.decrypt(box[:NONCE_SIZE], box[NONCE_SIZE:], _place(kind, account)).decode()
        except (InvalidTag, binascii.Error, ValueError):
            raise CannotDecrypt(account, kind) from None


def parse_keys(text: str) -> tuple[bytes, ...]:
    """Parse keys: base64 of 32 bytes each, separated by commas or spaces.

    Raises:
        ValueError: a key is malformed; the error does not repeat the text.
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


async def undecryptable_values(
    redis: Redis, hashes: Mapping[str, str], encryption: Encryption
) -> int:
    """Return how many stored values are encrypted if no key decrypts any of them, else 0.

    `hashes`: kind of secret -> the key of the hash that holds it by account.

    Raises:
        StoreUnavailable, StoreMisused: see `redis_call`.
    """
    count = 0
    for kind, _, account, value in await _stored(redis, hashes, "undecryptable_values"):
        if value.startswith(MARK):
            try:
                encryption.decrypt(kind, account, value)
            except CannotDecrypt:
                count += 1
            else:
                return 0
    return count


async def encrypt_plain_values(
    redis: Redis, hashes: Mapping[str, str], encryption: Encryption
) -> int:
    """Encrypt every plain value and remove it from the append-only file; return how many.

    A value that changes meanwhile keeps the change. Arguments and errors: see `undecryptable_values`.
    """
    if not encryption.has_key:
        return 0
    replace, encrypted = Script(redis, __package__, "replace_field"), 0
    for kind, key, account, value in await _stored(redis, hashes, "encrypt_plain_values"):
        is_plain = value and not value.startswith(MARK)
        if is_plain and is_text(value) and folded(account) is not None:
            new = encryption.encrypt(kind, account, value)
            encrypted += await replace.run([key], [account, value, new])
    if encrypted:
        with redis_call(redis, "encrypt_plain_values"):
            await redis.bgrewriteaof()  # the append-only file still has the plain values
    return encrypted


async def _stored(
    redis: Redis, hashes: Mapping[str, str], operation: str
) -> list[tuple[str, str, str, str]]:
    """Return kind, key, account and value of all secrets."""
    with redis_call(redis, operation):
        return [
            (kind, key, account, value)
            for kind, key in hashes.items()
            async for account, value in redis.hscan_iter(key, count=SCAN)
        ]


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"botapi key id" + key).hexdigest()[:KEY_ID_SIZE]


def _place(kind: str, account: str) -> bytes:
    return f"{kind}\0{account}".encode()
