"""The admin token, which opens the admin API.

The token is compared in constant time. The process keeps only its hash, so that no memory dump shows the
token. Without a token there is no admin API, not even for local clients: a local request may come through
a reverse proxy on this machine, or from a web page that is open in a browser on this machine.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

from aiohttp import hdrs, web

SCHEME: Final = "bearer"
SHORTEST: Final = 16  # characters of a token that cannot be guessed
RANDOM_BYTES: Final = 24  # of one that we make


class AdminToken:
    """One token."""

    def __init__(self, text: str) -> None:
        """`text`: as it stands in the file; white space around it does not count.

        Raises:
            ValueError: too short to be safe.
        """
        token = text.strip()
        if len(token) < SHORTEST:
            raise ValueError(f"an admin token has {SHORTEST} characters at least")
        self._digest = _digest(token)

    def opens(self, header: str | None) -> bool:
        """Tell whether an Authorization header shows the token."""
        shown = bearer_token(header)
        return shown is not None and hmac.compare_digest(_digest(shown), self._digest)

    def is_shown_in(self, request: web.Request) -> bool:
        """Tell whether a request shows the token."""
        return self.opens(request.headers.get(hdrs.AUTHORIZATION))


def bearer_token(header: str | None) -> str | None:
    """Return the token of an Authorization header, None where it shows none.

    The name of a scheme is case-insensitive (RFC 9110, section 11.1).
    """
    scheme, space, token = (header or "").partition(" ")
    return token.strip() if space and scheme.lower() == SCHEME else None


def new_token() -> str:
    """Return a token that cannot be guessed."""
    return secrets.token_urlsafe(RANDOM_BYTES)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()
