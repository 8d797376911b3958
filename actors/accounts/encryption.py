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
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from actors.errors import CannotDecrypt

MARK: Final = "sealed:v1:"
KEY_SIZE: Final = 32  # bytes
NONCE_SIZE: Final = 12  # bytes, random: one key encrypts far fewer than 2^32 values
KEY_ID_SIZE: Final = 8  # hex digits


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


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"botapi key id" + key).hexdigest()[:KEY_ID_SIZE]


def _place(kind: str, account: str) -> bytes:
    return f"{kind}\0{account}".encode()
