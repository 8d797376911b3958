"""Identifies the client by API key or address, and applies rate limits.

Without a key ring every client is admitted, and each address is a client. With one, all but a few paths
require an API key or the admin token; the admin token opens every path that a key opens. Rates are
counted per client.

Wrong credentials are counted per address. An address with too many of them is refused for a while, and
the admin token is not compared in that time. API keys are still accepted: they are random and cannot be
guessed, and clients behind one proxy may share an address.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web

from actors.clock import Clock
from actors.errors import RateLimited, Unauthorized
from actors.http.auth.api_keys import ApiKey, KeyRing
from actors.http.auth.client_address import FORWARDED_HEADER, Networks, address_of, group_of
from actors.http.auth.clients import ANONYMOUS, CLIENT, SLOWED, Client, Rate, Rates, bearer_token
from actors.http.auth.cross_site import CrossSitePolicy
from actors.http.auth.sessions import COOKIE

KEY_HEADER: Final = "X-API-Key"
SIGN_IN: Final = "/session"
# Open without a key: machines without keys request these paths, or the response is the same for every
# client. Paths below /admin and /session require the admin token instead. /status and /events are not
# listed: their responses contain account names.
OPEN_PATHS: Final = frozenset(
    {"/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", SIGN_IN, "/favicon.ico"}
)
OPEN_PREFIXES: Final = ("/admin/", "/docs/", "/page/")
# OpenDota's retriever takes its key from the query, and so do those who switch from it. Nowhere else:
# a query ends up in the logs of whatever stands in between.
QUERY_KEY: Final = "key"
QUERY_KEY_PREFIXES: Final = ("/match/", "/profile/", "/aliases/")

OPERATOR: Final = Client("(admin)", may_refresh=True)  # a name that no key can have
_NO_KEY: Final = "show an API key: Authorization: Bearer KEY, or X-API-Key: KEY"
WRONG: Final = Rate.of(60, burst=20)  # wrong keys and tokens from one address
# The request showed a token that is wrong, and was served as if it had shown none.
_GUESSED: Final = web.RequestKey("guessed", bool)
_RATE: Final = web.RequestKey("rate", Rate)


class Admission:
    """Admits or refuses requests, and identifies their clients."""

    def __init__(
        self,
        keys: KeyRing | None,
        *,
        per_minute: float,
        proxies: Networks,
        is_operator: Callable[[web.Request], bool],
        clock: Clock,
        browsers: CrossSitePolicy | None = None,
    ) -> None:
        """Make it.

        Args:
            keys: None where a request needs no key.
            per_minute: for one address, 0 for no limit.
            proxies: whose X-Forwarded-For is believed.
            is_operator: whether a request is an operator's.
            clock: for the rates.
            browsers: what web pages may have a browser send; None for a service that others reach.
        """
        self._keys = keys
        self.is_operator = is_operator
        self._clock = clock
        self._rates = Rates()
        self._wrong = Rates()  # by address
        self.reconfigure(per_minute=per_minute, proxies=proxies, browsers=browsers)

    def reconfigure(
        self, *, per_minute: float, proxies: Networks, browsers: CrossSitePolicy | None = None
    ) -> None:
        """Go by these from the next request on."""
        self.browsers = browsers or CrossSitePolicy()
        self._anonymous_rate = Rate.of(per_minute) if per_minute else None
        self._proxies = proxies

    def address_of(self, request: web.Request) -> str:
        """Return the address of the client, for the log and for limits."""
        forwarded = ",".join(request.headers.getall(FORWARDED_HEADER, ())) if self._proxies else ""
        return self.address_from(request.remote or "", forwarded)

    def address_from(self, peer: str, forwarded: str) -> str:
        """Return the same of a request from `peer` whose X-Forwarded-For is `forwarded`."""
        return address_of(peer, forwarded, self._proxies)

    def admit(self, request: web.Request, address: str) -> Client:
        """Let the request pass, and say in it who asks; `address` as `address_of` has it.

        Raises:
            ForeignHost, ForeignPage: a browser sent it on behalf of a foreign web page.
            Unauthorized: it shows no key, or a wrong one.
            RateLimited: its client has to wait, or it shows a wrong key and its address has to.
        """
        self.browsers.check(request)
        if wait := self._wrong.wait(group_of(address), WRONG, self._clock.now()):
            request[SLOWED] = RateLimited("too many wrong keys or tokens from this address", wait)
        if _is_open(request.path):
            return ANONYMOUS
        client, rate = self._client(request, address)
        request[CLIENT] = client
        if rate is None:
            return client
        self._take(client, rate)
        request[_RATE] = rate
        return client

    def admit_plain(self, key: str | None, address: str) -> Client:
        """Let a request pass that shows an API key in its own header, or nothing at all.

        Raises:
            Unauthorized, RateLimited: as `admit`, which counts nothing that is refused either.
        """
        client, rate = self._client_of_key(key, address)
        if rate is not None:
            self._take(client, rate)
        return client

    def take(self, request: web.Request) -> None:
        """Count one more request for `request`, which asks for several things.

        Raises:
            RateLimited: its client has to wait.
        """
        if (rate := request.get(_RATE)) is not None:
            self._take(request[CLIENT], rate)

    def note_answer(self, request: web.Request, status: int, address: str) -> None:
        """Count a request that showed a wrong key or token, by the status of its answer."""
        is_refused = status == HTTPStatus.UNAUTHORIZED and _shows_credential(request)
        if is_refused or _GUESSED in request:
            self._wrong.take(group_of(address), WRONG, self._clock.now())

    def _client(self, request: web.Request, address: str) -> tuple[Client, Rate | None]:
        if self.is_operator(request):
            return OPERATOR, None
        if self._keys is None and bearer_token(request.headers.get(hdrs.AUTHORIZATION)) is not None:
            request[_GUESSED] = True
        shown = shown_key(request)
        try:
            return self._client_of_key(shown, address)
        except Unauthorized:
            if shown is not None and SLOWED in request:
                raise request[SLOWED] from None
            raise

    def _client_of_key(self, shown: str | None, address: str) -> tuple[Client, Rate | None]:
        if self._keys is None:
            return _anonymous(address), self._anonymous_rate
        key = _key_of(shown, self._keys)
        return key.client, key.rate

    def _take(self, client: Client, rate: Rate) -> None:
        if wait := self._rates.take(client.name, rate, self._clock.now()):
            raise RateLimited(f"at most {rate.per_minute:g} requests per minute", wait)


@functools.lru_cache(1024)
def _anonymous(address: str) -> Client:
    return Client(group_of(address))


def shown_key(request: web.Request) -> str | None:
    """Return what a request shows as its API key, None where it shows nothing."""
    token = bearer_token(request.headers.get(hdrs.AUTHORIZATION))
    if token is not None:
        return token
    shown = request.headers.get(KEY_HEADER)
    if shown is None and request.path.startswith(QUERY_KEY_PREFIXES):
        return request.query.get(QUERY_KEY)
    return shown


def shows_credential(request: web.Request) -> bool:
    """Tell whether a request shows a key, a token or a session, whether or not that is a valid one.

    A shared cache must not give the answer to another client (RFC 9111, section 3.5, which knows only
    the Authorization header).
    """
    return (
        hdrs.AUTHORIZATION in request.headers
        or shown_key(request) is not None
        or COOKIE in request.cookies
    )


def _key_of(shown: str | None, keys: KeyRing) -> ApiKey:
    if shown is None:
        raise Unauthorized(_NO_KEY)
    key = keys.find(shown)
    if key is None:
        raise Unauthorized(f"this API key is unknown; {_NO_KEY}")
    return key


def _shows_credential(request: web.Request) -> bool:
    return (
        hdrs.AUTHORIZATION in request.headers
        or shown_key(request) is not None
        or request.path == SIGN_IN  # shows the token in its body
    )


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(OPEN_PREFIXES)
