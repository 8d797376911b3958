"""Admission: identifies the client by API key or address, and applies rate limits.

Without a key ring every client is admitted, and each address is a client. With a key ring, all but a few
paths require an API key or the admin token; the admin token opens every path that a key opens. Rates are
counted per client.

Wrong credentials are counted per address. An address with too many of them is refused for a while, and
the admin token is not compared in that time. API keys are still accepted: they are random and cannot be
guessed, and clients behind one proxy may share an address.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web

from actors.clock import Clock
from actors.errors import RateLimited, Unauthorized
from actors.http.auth.admin import OperatorAuth
from actors.http.auth.api_keys import KeyRing, bearer_token, shown_key
from actors.http.auth.clients import (
    ANONYMOUS,
    CLIENT,
    FORWARDED_HEADER,
    SLOWED,
    Client,
    Networks,
    Rate,
    RateLimiter,
    address_of,
    group_of,
)
from actors.http.auth.cross_site import CrossSitePolicy
from actors.http.auth.sessions import SIGN_IN

# Open without a key: machines without keys request these paths, or the response is the same for every
# client. Paths below /admin and /session require the admin token instead. /status and /events are not
# listed: their responses contain account names.
OPEN_PATHS: Final = frozenset(
    {"/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", SIGN_IN, "/favicon.ico"}
)
OPEN_PREFIXES: Final = ("/admin/", "/docs/", "/page/")

OPERATOR: Final = Client("(admin)", may_refresh=True)  # no API key can have this name
WRONG: Final = Rate.of(60, burst=20)  # wrong keys and tokens from one address
_NO_KEY: Final = "show an API key: Authorization: Bearer KEY, or X-API-Key: KEY"
# Set if the request showed a wrong token and is served as if it had shown none.
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
        operators: OperatorAuth | None,
        clock: Clock,
        browsers: CrossSitePolicy | None = None,
    ) -> None:
        """None for `keys` if requests need none, and for `operators` if there is no admin token.

        `per_minute` limits the requests of one address; 0 is no limit. `proxies`: peers whose
        X-Forwarded-For is trusted. `browsers`: None if other machines reach the service.
        """
        self._keys = keys
        self._operators = operators
        self._clock = clock
        self._requests = RateLimiter()
        self._wrong = RateLimiter()  # by address
        self.reconfigure(per_minute=per_minute, proxies=proxies, browsers=browsers)

    def reconfigure(
        self, *, per_minute: float, proxies: Networks, browsers: CrossSitePolicy | None = None
    ) -> None:
        """Use these settings for later requests."""
        self.browsers = browsers or CrossSitePolicy()
        self._anonymous_rate = Rate.of(per_minute) if per_minute else None
        self._proxies = proxies

    def is_operator(self, request: web.Request) -> bool:
        """Return whether an operator sent the request."""
        return self._operators is not None and self._operators.is_operator(request)

    def may_see_names(self, request: web.Request) -> bool:
        """Return whether a client may see account names: any client that has a key or is local."""
        return self.browsers.is_local or self._keys is not None or self.is_operator(request)

    def address_of(self, request: web.Request) -> str:
        """Return the address of the client, for the log and for limits."""
        peer = request.remote or ""
        if not self._proxies:
            return peer
        forwarded = ",".join(request.headers.getall(FORWARDED_HEADER, ()))
        return address_of(peer, forwarded, self._proxies)

    def admit(self, request: web.Request, address: str) -> Client:
        """Admit the request, store its client in it and return the client.

        `address` is the result of `address_of`.

        Raises:
            ForeignHost, ForeignPage: a browser sent it on behalf of a foreign web page.
            Unauthorized: it shows no key, or a wrong one.
            RateLimited: its client must wait, or it shows a wrong key and its address must wait.
        """
        self.browsers.check(request)
        if wait := self._wrong.wait(group_of(address), WRONG, self._clock.now()):
            request[SLOWED] = RateLimited("too many wrong keys or tokens from this address", wait)
        if request.path in OPEN_PATHS or request.path.startswith(OPEN_PREFIXES):
            return ANONYMOUS
        client, rate = self._client(request, address)
        request[CLIENT] = client
        if rate is not None:
            self._take(client, rate)
            request[_RATE] = rate
        return client

    def admit_plain(self, key: str | None, hosts: Iterable[str], address: str) -> Client:
        """Admit a request that shows an API key in its own header, or no credential.

        Raises:
            ForeignHost, Unauthorized, RateLimited: as `admit`.
        """
        self.browsers.check_hosts(hosts)
        if self._keys is None and self._anonymous_rate is None:
            return _anonymous(address)
        client, rate = self._client_of_key(key, address)
        if rate is not None:
            self._take(client, rate)
        return client

    def take(self, request: web.Request) -> None:
        """Count one more request for an admitted request that asks for several things.

        Raises:
            RateLimited: its client must wait.
        """
        if (rate := request.get(_RATE)) is not None:
            self._take(request[CLIENT], rate)

    def note_response(self, request: web.Request, status: int, address: str) -> None:
        """Count a request that showed a wrong key or token, by the status of its response."""
        has_header = hdrs.AUTHORIZATION in request.headers
        is_wrong = status == HTTPStatus.UNAUTHORIZED and (
            has_header or shown_key(request) is not None or request.path == SIGN_IN
        )
        if is_wrong or (has_header and _GUESSED in request):
            self._wrong.take(group_of(address), WRONG, self._clock.now())

    def _client(self, request: web.Request, address: str) -> tuple[Client, Rate | None]:
        if self.is_operator(request):
            return OPERATOR, None
        if self._keys is None:
            header = request.headers.get(hdrs.AUTHORIZATION)
            if header is not None and bearer_token(header) is not None:
                request[_GUESSED] = True
            return self._client_of_key(None, address)
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
        if shown is None:
            raise Unauthorized(_NO_KEY)
        key = self._keys.find(shown)
        if key is None:
            raise Unauthorized(f"this API key is unknown; {_NO_KEY}")
        return key.client, key.rate

    def _take(self, client: Client, rate: Rate) -> None:
        if wait := self._requests.take(client.name, rate, self._clock.now()):
            raise RateLimited(f"at most {rate.per_minute:g} requests per minute", wait)


@functools.lru_cache(1024)
def _anonymous(address: str) -> Client:
    return Client(group_of(address))
