"""Steam Guard codes of a mobile authenticator (RFC 6238 with Steam's alphabet)."""

from __future__ import annotations

import base64
import binascii
import struct
from typing import Final

from steam.core.crypto import hmac_sha1

STEP_S: Final = 30
ALPHABET: Final = "23456789BCDFGHJKMNPQRTVWXY"
LENGTH: Final = 5


def code_at(shared_secret: str, now: float) -> str:
    """Return the code for UTC second `now`, by Steam's clock (`SteamTime`).

    Raises:
        ValueError: `shared_secret` is not base64.
    """
    try:
        key = base64.b64decode(shared_secret, validate=True)
    except binascii.Error as error:
        raise ValueError("the shared secret is not base64") from error
    digest = hmac_sha1(key, struct.pack(">Q", int(now) // STEP_S))
    at = digest[19] & 0x0F
    number = int.from_bytes(digest[at : at + 4], "big") & 0x7FFFFFFF
    letters = []
    for _ in range(LENGTH):
        number, index = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[index])
    return "".join(letters)


def until_next_step(now: float) -> float:
    """Return the seconds until the next code is valid."""
    return STEP_S - now % STEP_S
