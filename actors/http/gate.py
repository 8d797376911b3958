"""Authenticates operators: by the admin token, or by a session that was started with it.

A browser also sends its cookie with requests that a foreign page triggers. So a request that changes
something and authenticates by cookie must come from the service's own page, and carry a header that a
foreign page cannot add.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import hdrs, web

from actors.clock import Clock
from actors.http.access import AdminToken
from actors.http.client import SLOWED
from actors.http.cross_site import is_own_origin
from actors.http.errors import error_body, error_response
from actors.http.sessions import Sessions

OWN_PAGE: Final = "X-BotAPI-Page"  # the header; a page of another site would need our leave (CORS)
READING: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})


@dataclass(frozen=True, slots=True)
class Operator:
    """An authenticated operator. `name` is for the audit log; it is no credential."""

    name: str


class Gate:
    """Checks the credentials of operators."""

    def __init__(self, token: AdminToken, sessions: Sessions) -> None:
        self.sessions = sessions
        self._token = token

    def is_operator(self, request: web.Request) -> bool:
        """Tell whether an operator sent the request."""
        return self.operator(request) is not None

    def opens_for(self, token: str) -> bool:
        """Whether this is the admin token."""
        return self._token.opens(f"Bearer {token}")

    def operator(self, request: web.Request) -> Operator | None:
        """Return the operator who sent the request, or None.

        A token from an address that showed too many wrong ones is not compared.
        """
        if hdrs.AUTHORIZATION in request.headers:
            if SLOWED in request:
                return None
            return Operator("token") if self._token.is_shown_in(request) else None
        session = self.sessions.of(request)
        return None if session is None else Operator(f"session {session.name}")

    def check(self, request: web.Request) -> Operator | web.Response:
        """Return who asks, or why they may not."""
        operator = self.operator(request)
        if operator is None:
            if SLOWED in request and hdrs.AUTHORIZATION in request.headers:
                return error_response(request[SLOWED])
            refusal = error_body(
                401, "unauthorized", "show the admin token: Authorization: Bearer TOKEN"
            )
            refusal.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
            return refusal
        by_cookie = hdrs.AUTHORIZATION not in request.headers
        if by_cookie and request.method not in READING and not is_own_page(request):
            return error_body(403, "foreign-page", "this did not come from the service's own page")
        return operator


def gate_of(token: AdminToken | None, clock: Clock) -> Gate | None:
    """Return the gate for a token, with no session begun yet; None where there is no token."""
    return None if token is None else Gate(token, Sessions(clock))


def operator_test(gate: Gate | None) -> Callable[[web.Request], bool]:
    """Return what tells whether a request is an operator's; without a gate there are none."""
    return (lambda _: False) if gate is None else gate.is_operator


def is_own_page(request: web.Request) -> bool:
    """Whether a request by a browser comes from the page that this service served."""
    return OWN_PAGE in request.headers and is_own_origin(request)
