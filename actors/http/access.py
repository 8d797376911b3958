"""Who may use the admin API: whoever shows the token from `http.admin_token_file`.

Compared in constant time; only its hash is kept, so that no dump of this process shows it.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from actors.http.errors import error_body

SCHEME: Final = "Bearer "
SHORTEST: Final = 16  # characters of a token that cannot be guessed


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
        if header is None or not header.startswith(SCHEME):
            return False
        return hmac.compare_digest(_digest(header.removeprefix(SCHEME).strip()), self._digest)


def admins_only(token: AdminToken, prefix: str) -> Middleware:
    """Return a middleware that refuses paths below `prefix` without the token."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(prefix) and not token.opens(
            request.headers.get("Authorization")
        ):
            refusal = error_body(
                401, "unauthorized", "show the admin token: Authorization: Bearer TOKEN"
            )
            refusal.headers["WWW-Authenticate"] = SCHEME.strip()
            return refusal
        return await handler(request)

    return middleware


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
