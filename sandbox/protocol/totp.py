"""Steam Guard mobile codes (RFC 6238 with Steam's alphabet)."""

from __future__ import annotations

import hmac
from typing import Final

STEP_S: Final = 30
ALPHABET: Final = "23456789BCDFGHJKMNPQRTVWXY"
_LENGTH: Final = 5


def code(secret: bytes, step: int) -> str:
    """Return the code of one 30-second step (unix time // 30)."""
    digest = hmac.digest(secret, step.to_bytes(8, "big"), "sha1")
    offset = digest[-1] & 0x0F
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    letters = []
    for _ in range(_LENGTH):
        number, index = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[index])
    return "".join(letters)


def matching_step(secret: bytes, text: str, now: float) -> int | None:
    """Return the step within one of `now` (unix seconds) that `text` belongs to, if any."""
    current = int(now) // STEP_S
    for step in (current, current - 1, current + 1):
        if hmac.compare_digest(code(secret, step).encode(), text.upper().encode()):
            return step
    return None
