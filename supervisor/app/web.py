"""Assembles the HTTP site: authentication, API keys, the page, the server.

As with the settings, a bad edit of the key file changes nothing and its reason goes to the log. Names are
logged, never a key or a hash.

The page is always served. Operations that change something require the admin token; without a token they
do not exist. Only operators may watch if other machines can reach the API, since the page shows account
names, or if an admin token file or an API key file is configured. Otherwise every client may watch.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.clock import Clock
from actors.dashboard.dashboard import Dashboard
from actors.http.auth.admin import AdminToken, Audit, OperatorAuth
from actors.http.auth.admission import Admission
from actors.http.auth.api_keys import ApiKey, BadKeys, KeyRing, parse_keys
from actors.http.auth.clients import Network, is_loopback
from actors.http.auth.cross_site import CrossSitePolicy
from actors.http.connection import Capacity
from actors.http.metrics import HttpMetrics
from actors.http.openapi.operation import Routes
from actors.http.pipeline import Pipeline
from actors.http.routes.admin import AdminRoutes
from actors.http.routes.cached_matches import CachedMatches
from actors.http.routes.dashboard import EventsRoute, SessionRoutes
from actors.http.routes.match_fetcher import MatchFetcher
from actors.http.routes.pages import PageRoutes
from actors.http.server import HttpServer, make_app
from supervisor import __version__
from supervisor.app.file_watch import FollowedFile
from supervisor.app.open_files import most_connections, open_files_limit
from supervisor.clock import SystemClock
from supervisor.config.errors import ConfigError
from supervisor.config.model import Http
from supervisor.logs.access_log import RequestLog

LONGEST_DRAIN_S: Final = 10.0
SETTING: Final = "http.api_keys_file"


class LiveKeys(FollowedFile):
    """The API keys in effect; reloaded when their file changes."""

    def __init__(self, file: Path, *, clock: Clock, log: FilteringBoundLogger) -> None:
        """Read the file.

        Raises:
            ConfigError: it cannot be read or used.
        """
        super().__init__(file, clock)
        self._log = log
        self._keys = read_keys(file)
        self._is_refused = False
        self.ring = KeyRing(self._keys)

    async def _take_in(self, content: bytes | None, *, is_asked_for: bool) -> None:
        try:
            # A full disk or a slow writer leaves an empty file.
            keys = _parsed(content, may_be_empty=not self._keys)
        except BadKeys as problem:
            self._is_refused = True
            self._log.error("api_keys_refused", file=str(self.file), reason=str(problem))
            return
        if keys != self._keys or self._is_refused or is_asked_for:
            self._log.info("api_keys_applied", **_difference(self._keys, keys))
        self._is_refused = False
        self._keys = keys
        self.ring.replace(keys)


def read_keys(file: Path) -> tuple[ApiKey, ...]:
    """Return the keys in `file`.

    Raises:
        ConfigError: it cannot be read or used.
    """
    try:
        return _parsed(file.read_bytes())
    except FileNotFoundError:
        raise ConfigError(
            SETTING, f"there is no {file}; make the first key with: botapi keys add NAME"
        ) from None
    except OSError as error:
        raise ConfigError(SETTING, f"{file} cannot be read: {error.strerror}") from None
    except BadKeys as problem:
        raise ConfigError(SETTING, f"{file}: {problem}") from None


def _parsed(content: bytes | None, *, may_be_empty: bool = True) -> tuple[ApiKey, ...]:
    if content is None:
        raise BadKeys("it cannot be read")
    if not may_be_empty and not content.strip():
        raise BadKeys("it is empty; to refuse all clients, write a comment into it")
    try:
        return parse_keys(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise BadKeys("it is not UTF-8 text") from None


def _difference(before: tuple[ApiKey, ...], after: tuple[ApiKey, ...]) -> dict[str, object]:
    old = {key.client.name: key for key in before}
    new = {key.client.name: key for key in after}
    return {
        "count": len(new),
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "changed": sorted(name for name in old.keys() & new.keys() if old[name] != new[name]),
    }


class HttpAccess:
    """Permissions and limits of HTTP clients: API keys, rates, connections, the admin token."""

    def __init__(
        self,
        http: Http,
        token: AdminToken | None,
        *,
        address: str,
        clock: SystemClock,
        log: FilteringBoundLogger,
    ) -> None:
        """Read the keys.

        `token`: None for no admin API. `address`: that the service listens on.

        Raises:
            ConfigError: the key file cannot be used.
        """
        self._http = http
        self._log = log.bind(actor="api_keys")
        self._is_local = is_loopback(address)
        file = http.api_keys_file
        self.keys = None if file is None else LiveKeys(file, clock=clock, log=self._log)
        self.operators = None if token is None else OperatorAuth(token, clock)
        self.capacity = Capacity(_connections(http, log), _networks(http))
        self.admission = Admission(
            None if self.keys is None else self.keys.ring,
            per_minute=http.per_minute,
            proxies=_networks(http),
            operators=self.operators,
            clock=clock,
            browsers=self._browsers(http),
        )
        self.audit = Audit(log)
        self.is_private = (
            self._is_exposed or http.admin_token_file is not None or http.api_keys_file is not None
        )

    def reconfigure(self, http: Http) -> None:
        """Change the limits."""
        self._http = http
        self.capacity.reconfigure(_connections(http, self._log), _networks(http))
        self.admission.reconfigure(
            per_minute=http.per_minute, proxies=_networks(http), browsers=self._browsers(http)
        )

    @property
    def _is_exposed(self) -> bool:
        """Whether other machines reach the API, by its address or through a proxy."""
        return not self._is_local or bool(self._http.trusted_proxies)

    def _browsers(self, http: Http) -> CrossSitePolicy:
        is_local = self._is_local and not http.trusted_proxies
        return CrossSitePolicy(http.allowed_hosts, is_local=is_local)


def _connections(http: Http, log: FilteringBoundLogger) -> int:
    """Return how many connections there may be: `http.connections`, or what the open files allow."""
    most = most_connections(open_files_limit())
    if http.connections <= most:
        return http.connections
    log.warning("connections_limited", most=most, wanted=http.connections)
    return most


def _networks(http: Http) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in http.trusted_proxies)


def make_http(
    access: HttpAccess,
    groups: Sequence[Routes],
    dashboard: Dashboard,
    *,
    admin: AdminRoutes | None,
    fetcher: MatchFetcher,
    metrics: HttpMetrics,
    listener: socket.socket,
    clock: SystemClock,
    log: FilteringBoundLogger,
) -> HttpServer:
    """Return a server of the API (`groups`) and the page; `listener` stays open when the server ends."""
    admission, record = access.admission, RequestLog(log)
    app = make_app(groups, admission, version=__version__, admin=admin)
    PageRoutes().add_to(app)
    operators, is_private = access.operators, access.is_private
    EventsRoute(dashboard, operators, is_private=is_private, clock=clock).add_to(app)
    SessionRoutes(operators, access.audit, is_private=is_private).add_to(app)
    cached = CachedMatches(admission, fetcher, clock=clock)
    return HttpServer(
        app,
        listener.dup(),
        pipeline=Pipeline(admission, cached, clock=clock, log=log, record=record, metrics=metrics),
        capacity=access.capacity,
        drain_s=LONGEST_DRAIN_S,
        log=log,
    )
