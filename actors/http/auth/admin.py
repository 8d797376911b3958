"""Admin token, operator check, audit log.

The token is compared in constant time. The process keeps only its hash, so that no memory dump shows the
token. Without a token there is no admin API, not even for local clients: a local request may come through
a reverse proxy on this machine, or from a web page that is open in a browser on this machine.

A browser also sends its cookie with requests that a foreign page triggers. So a request that changes
something and authenticates by cookie must come from the service's own page, and carry a header that a
foreign page cannot add.

Who (the token, or a session by a name that opens nothing), from where, what, to whom, and what came of
it. What was typed (passwords, codes, the token) is never part of it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import hdrs, web
from structlog.typing import FilteringBoundLogger

from actors.clock import Clock
from actors.http.auth.clients import SLOWED, bearer_token
from actors.http.auth.cross_site import is_own_origin
from actors.http.auth.sessions import Sessions
from actors.http.errors import error_body, error_response
from actors.http.headers import request_id_of
from actors.http.outcome import ERROR, short
from actors.metrics import contained

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


def new_token() -> str:
    """Return a token that cannot be guessed."""
    return secrets.token_urlsafe(RANDOM_BYTES)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()


OWN_PAGE: Final = "X-BotAPI-Page"  # the header; a page of another site would need our leave (CORS)
READING: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})


@dataclass(frozen=True, slots=True)
class Operator:
    """An authenticated operator. `name` is for the audit log; it is no credential."""

    name: str


class OperatorAuth:
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


def gate_of(token: AdminToken | None, clock: Clock) -> OperatorAuth | None:
    """Return the gate for a token, with no session begun yet; None where there is no token."""
    return None if token is None else OperatorAuth(token, Sessions(clock))


def operator_test(gate: OperatorAuth | None) -> Callable[[web.Request], bool]:
    """Return what tells whether a request is an operator's; without a gate there are none."""
    return (lambda _: False) if gate is None else gate.is_operator


def is_own_page(request: web.Request) -> bool:
    """Whether a request by a browser comes from the page that this service served."""
    return OWN_PAGE in request.headers and is_own_origin(request)


UNAUTHENTICATED: Final = "unauthenticated"
_FACTS: Final = web.RequestKey("audit facts", dict[str, Any])


def add_facts(request: web.Request, **facts: Any) -> None:
    """Have more facts in the line about this request, e.g. how many accounts were imported."""
    request[_FACTS] = {**request.get(_FACTS, {}), **facts}


class Audit:
    """Writes the lines."""

    def __init__(self, log: FilteringBoundLogger, address_of: Callable[[web.Request], str]) -> None:
        self._log = log.bind(actor="admin")
        self._address_of = address_of
        # Writes the line about one request that was answered: what was done is done, line or no line.
        self.write = contained(self._write, "audit", log=self._log)

    def _write(self, request: web.Request, who: str, answer: web.StreamResponse) -> None:
        resource = request.match_info.route.resource
        path = request.path if resource is None else resource.canonical
        targets = request.match_info.values()
        self._log.info(
            "admin_action",
            action=short(f"{request.method} {path}"),
            target=short(next(iter(targets), None)),
            who=who,
            address=self._address_of(request),
            status=answer.status,
            outcome=answer.get(ERROR, "done"),
            request_id=request_id_of(request),
            **request.get(_FACTS, {}),
        )
