"""Who may come in and how, put together for the tree; like tree.py it sees both halves."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from actors.http.addresses import Network, is_loopback
from actors.http.admission import Admission
from actors.http.connections import Capacity
from actors.http.cross_site import CrossSitePolicy
from supervisor.child import Child
from supervisor.clock import SystemClock
from supervisor.live_keys import LiveKeys
from supervisor.open_files import most_connections, open_files_limit
from supervisor.settings import Http
from supervisor.watch import FileWatch


class FrontDoor:
    """What outlives the HTTP server: keys, rates and the count of connections."""

    def __init__(
        self,
        http: Http,
        is_operator: Callable[[web.Request], bool],
        address: str,
        *,
        clock: SystemClock,
        log: FilteringBoundLogger,
    ) -> None:
        """Read the keys.

        `is_operator`: who needs none, because they may do more; `address`: where the service listens.

        Raises:
            ConfigError: their file cannot be used.
        """
        self._log = log.bind(actor="api_keys")
        self._is_local = is_loopback(address)
        file = http.api_keys_file
        self._keys = None if file is None else LiveKeys(file, sleep=clock.sleep, log=self._log)
        self.capacity = Capacity(_connections(http, log), _networks(http))
        self.admission = Admission(
            None if self._keys is None else self._keys.ring,
            per_minute=http.per_minute,
            proxies=_networks(http),
            is_operator=is_operator,
            clock=clock,
            browsers=self._browsers(http),
        )

    def children(self) -> dict[str, Callable[[], Child]]:
        """Return who is to run."""
        keys = self._keys
        return {} if keys is None else {"api_keys": lambda: FileWatch(keys, log=self._log)}

    def apply(self, http: Http) -> None:
        """Go by these settings from now on."""
        self.capacity.change(_connections(http, self._log), _networks(http))
        self.admission.change(
            per_minute=http.per_minute, proxies=_networks(http), browsers=self._browsers(http)
        )

    def ask_to_reread(self) -> None:
        """Have the keys read again, changed or not."""
        if self._keys is not None:
            self._keys.ask_to_reread()

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
