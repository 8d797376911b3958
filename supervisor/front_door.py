"""Who may come in and how, put together for the tree; like tree.py it sees both halves."""

from __future__ import annotations

from ipaddress import ip_network

from structlog.typing import FilteringBoundLogger

from actors.http.access import AdminToken
from actors.http.addresses import Network
from actors.http.admission import Admission
from actors.http.connections import Gate
from supervisor.clock import SystemClock
from supervisor.live_keys import LiveKeys
from supervisor.settings import Http


class FrontDoor:
    """What outlives the HTTP server: keys, rates and the count of connections."""

    def __init__(
        self,
        http: Http,
        token: AdminToken | None,
        *,
        clock: SystemClock,
        log: FilteringBoundLogger,
    ) -> None:
        """Read the keys.

        Raises:
            ConfigError: their file cannot be used.
        """
        file = http.api_keys_file
        self.keys = None if file is None else LiveKeys(file, sleep=clock.sleep, log=log)
        self.gate = Gate(http.connections)
        self.admission = Admission(
            None if self.keys is None else self.keys.ring,
            per_minute=http.per_minute,
            proxies=_networks(http),
            is_operator=lambda request: token is not None and token.is_shown_in(request),
            clock=clock,
        )

    def apply(self, http: Http) -> None:
        """Go by these settings from now on."""
        self.gate.change_most(http.connections)
        self.admission.change(per_minute=http.per_minute, proxies=_networks(http))

    def ask_to_reread(self) -> None:
        """Have the keys read again, changed or not."""
        if self.keys is not None:
            self.keys.ask_to_reread()


def _networks(http: Http) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in http.trusted_proxies)
