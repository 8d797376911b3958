"""Credentials in a request: bearer token, API key, session cookie; and their hash."""

from __future__ import annotations

import hashlib
from typing import Final

from aiohttp import hdrs, web
from multidict import istr

BEARER: Final = "bearer"
KEY_HEADER: Final = istr("X-API-Key")
COOKIE: Final = "botapi_session"
SIGN_IN: Final = "/session"  # its body holds the admin token
# OpenDota's retriever takes its API key from the query, so its routes do too. No other route does:
# proxies log queries.
QUERY_KEY: Final = "key"
QUERY_KEY_PREFIXES: Final = ("/match/", "/profile/", "/aliases/")


def digest_of(secret: str) -> bytes:
    """Return the hash of a secret; the process keeps and compares only hashes."""
    return hashlib.sha256(secret.encode(errors="surrogateescape")).digest()


def bearer_token(header: str | None) -> str | None:
    """Return the token in an Authorization header, or None.

    The name of a scheme is case-insensitive (RFC 9110, section 11.1).
    """
    if header is None:
        return None
    scheme, space, token = header.partition(" ")
    return token.strip() if space and scheme.lower() == BEARER else None


def shown_key(request: web.Request) -> str | None:
    """Return the API key that a request shows, valid or not, or None."""
    token = bearer_token(request.headers.get(hdrs.AUTHORIZATION))
    if token is not None:
        return token
    key = request.headers.get(KEY_HEADER)
    if key is None and request.path.startswith(QUERY_KEY_PREFIXES):
        return request.query.get(QUERY_KEY)
    return key


def shown_session(request: web.Request) -> str | None:
    """Return the session secret that a request's cookie holds, valid or not, or None."""
    return request.cookies.get(COOKIE) if hdrs.COOKIE in request.headers else None


def shows_credential(request: web.Request) -> bool:
    """Return whether a request shows a key, a token or a session, valid or not.

    A shared cache must not give the response to another client (RFC 9111, section 3.5, which knows only
    the Authorization header).
    """
    headers = request.headers
    return (
        hdrs.AUTHORIZATION in headers
        or KEY_HEADER in headers
        or (hdrs.COOKIE in headers and COOKIE in request.cookies)
        or shown_key(request) is not None
    )
