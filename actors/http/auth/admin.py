"""Admin token, operator authentication and audit log.

Without a token there is no admin API, not even for local clients: a local request may come through a
reverse proxy on this machine, or from a web page in a browser on it.

A browser also sends its cookie with requests that a foreign page triggers. So a request that changes
something and authenticates by cookie must carry a header that a foreign page cannot add.

The audit log names the operator (the token, or a session by a name that is no credential), the address,
the action, its target and its outcome. It never contains what was typed (passwords, codes, the token).
"""

from __future__ import annotations

import hmac
import secrets
from typing import Any, Final

from aiohttp import hdrs, web
from multidict import istr
from structlog.typing import FilteringBoundLogger

from actors.clock import Clock
from actors.errors import Unauthorized
from actors.http.auth.api_keys import bearer_token, digest_of
from actors.http.auth.clients import ADDRESS, SLOWED
from actors.http.auth.cross_site import is_own_origin
from actors.http.auth.sessions import BrowserSessions
from actors.http.errors import ERROR, error_body, error_response
from actors.http.headers import loggable, request_id_of
from actors.metrics import contained

MIN_LENGTH: Final = 16  # characters of a token that cannot be guessed
RANDOM_BYTES: Final = 24  # of a token that the service makes
PAGE_HEADER: Final = istr("X-BotAPI-Page")  # a page of another site cannot send it (CORS)
READING: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})
_NO_CREDENTIAL: Final = "show the admin token: Authorization: Bearer TOKEN"
UNAUTHENTICATED: Final = "unauthenticated"
_FACTS: Final = web.RequestKey("audit facts", dict[str, Any])


class AdminToken:
    """The hash of an admin token."""

    def __init__(self, text: str) -> None:
        """`text` is the content of the token file; surrounding white space does not count.

        Raises:
            ValueError: too short to be safe.
        """
        token = text.strip()
        if len(token) < MIN_LENGTH:
            raise ValueError(f"an admin token has {MIN_LENGTH} characters at least")
        self._digest = digest_of(token)

    def matches(self, token: str) -> bool:
        """Return whether `token` is the admin token, in constant time."""
        return hmac.compare_digest(digest_of(token), self._digest)

    def opens(self, header: str | None) -> bool:
        """Return whether an Authorization header shows the token."""
        shown = bearer_token(header)
        return shown is not None and self.matches(shown)


def new_token() -> str:
    """Return a new random token."""
    return secrets.token_urlsafe(RANDOM_BYTES)


class OperatorAuth:
    """Checks the credentials of operators."""

    def __init__(self, token: AdminToken, clock: Clock) -> None:
        self.token = token
        self.sessions = BrowserSessions(clock)

    def is_operator(self, request: web.Request) -> bool:
        """Return whether an operator sent the request."""
        return self.operator(request) is not None

    def operator(self, request: web.Request) -> str | None:
        """Return the operator who sent the request, or None; it is a name for the log, no credential.

        A token from an address that showed too many wrong tokens is not compared.
        """
        if (header := request.headers.get(hdrs.AUTHORIZATION)) is not None:
            return "token" if SLOWED not in request and self.token.opens(header) else None
        session = self.sessions.of(request) if hdrs.COOKIE in request.headers else None
        return None if session is None else f"session {session.name}"

    def check(self, request: web.Request) -> str | web.Response:
        """Return the operator who sent an admin request, or the response that refuses it."""
        operator = self.operator(request)
        if operator is None:
            if SLOWED in request and hdrs.AUTHORIZATION in request.headers:
                return error_response(request[SLOWED])
            return error_response(Unauthorized(_NO_CREDENTIAL))
        is_session = hdrs.AUTHORIZATION not in request.headers
        if is_session and request.method not in READING and not is_own_page(request):
            return foreign_page()
        return operator


def is_own_page(request: web.Request) -> bool:
    """Return whether a browser's request comes from the page that this service served."""
    return PAGE_HEADER in request.headers and is_own_origin(request)


def foreign_page() -> web.Response:
    """Return the response that refuses a request of another page."""
    return error_body(403, "foreign-page", "this did not come from the service's own page")


def add_facts(request: web.Request, **facts: Any) -> None:
    """Add facts to the audit line of a request, e.g. how many accounts were imported."""
    request[_FACTS] = {**request.get(_FACTS, {}), **facts}


class Audit:
    """Writes the audit log."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log.bind(actor="admin")
        # Writes the line of a request. The action is done already: a failure to log changes nothing.
        self.write = contained(self._write, "audit", log=self._log)

    def _write(self, request: web.Request, who: str, response: web.StreamResponse) -> None:
        resource = request.match_info.route.resource
        path = request.path if resource is None else resource.canonical
        targets = request.match_info.values()
        self._log.info(
            "admin_action",
            action=loggable(f"{request.method} {path}"),
            target=loggable(next(iter(targets), None)),
            who=who,
            address=request[ADDRESS],
            status=response.status,
            outcome=response.get(ERROR, "done"),
            request_id=request_id_of(request),
            **request.get(_FACTS, {}),
        )
