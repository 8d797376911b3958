"""Assembles the HTTP site: authentication, API keys, dashboard, admin API.

As with the settings, a bad edit changes nothing and its reason goes to the log. Names are logged, never a
key or a hash.

The page is always served. Operations that change something require the admin token; without a token they
do not exist. Only operators may watch if other machines can reach the API, since the page shows account
names, or if an admin token file or an API key file is configured. Otherwise every client may watch.
"""

from __future__ import annotations

import contextlib
import random
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from actors.accounts.admin import AccountAdmin
from actors.accounts.desk import AccountDesk, AccountOrder
from actors.accounts.logon_limiter import LogonLimiter
from actors.accounts.models import QuotaLimits
from actors.accounts.store import AccountStore
from actors.actor import Address
from actors.bot.messages import FleetOrder
from actors.bot.registry import RosterMessage
from actors.bot.shared_causes import SharedCause
from actors.bot.steam_guard import GuardDesk, InteractiveLogon, SubmitGuard
from actors.dashboard.cause_log import CauseLog
from actors.dashboard.dashboard import Dashboard, DashboardMessage, Refresh, Sources
from actors.dashboard.history import FleetHistory, Traffic
from actors.errors import LocalProtocolError
from actors.http.auth.admin import Audit, OperatorAuth
from actors.http.auth.admission import Admission
from actors.http.auth.api_keys import ApiKey, BadKeys, KeyRing, parse_keys
from actors.http.auth.client_address import Network, is_loopback
from actors.http.auth.cross_site import CrossSitePolicy
from actors.http.connection import Capacity
from actors.http.metrics import TrafficCount
from actors.http.openapi.operation import Routes
from actors.http.routes.admin import AdminDesks, AdminRoutes
from actors.http.routes.admin_request import operators_only
from actors.http.routes.dashboard import EventsRoute, PageRoutes, SessionRoutes
from actors.router.messages import RouterMessage
from actors.steam.directory import CmDirectory
from actors.steam.link import SteamNetwork
from supervisor.app.fleet import Fleet, FleetDesk
from supervisor.app.open_files import most_connections, open_files_limit
from supervisor.child import Child
from supervisor.clock import SystemClock
from supervisor.config.errors import ConfigError
from supervisor.config.file_watch import FileWatch, FollowedFile
from supervisor.config.model import Http


def guard_desk(
    address: Address[SubmitGuard],
    *,
    admin: AccountAdmin,
    store: AccountStore,
    network: SteamNetwork,
    directory: CmDirectory,
    limiter: LogonLimiter,
    instance: str,
    clock: SystemClock,
    log: FilteringBoundLogger,
) -> GuardDesk:
    """Return a desk that logs accounts on as `botapi accounts login` does."""
    by_hand = InteractiveLogon(
        admin=admin,
        store=store,
        network=network,
        directory=directory,
        limiter=limiter,
        clock=clock,
        rng=random.Random(),
        holder=f"{instance}/guard",
    )
    return GuardDesk(by_hand.log_on, address=address, clock=clock, log=log)


SETTING: Final = "http.api_keys_file"


class LiveKeys(FollowedFile):
    """The API keys in effect, reloaded when their file changes."""

    def __init__(
        self,
        file: Path,
        *,
        sleep: Callable[[float], Awaitable[None]],
        log: FilteringBoundLogger,
    ) -> None:
        """Read the file for the first time.

        Raises:
            ConfigError: it cannot be read or used.
        """
        super().__init__(sleep)
        self._file = file
        self._log = log
        self._keys = read_keys(file)
        self._is_refused = False
        self.ring = KeyRing(self._keys)

    @property
    def file(self) -> Path:
        """The file that is followed."""
        return self._file

    async def _take_in(self, content: bytes | None, *, is_asked_for: bool) -> None:
        try:
            keys = self._checked(content)
        except BadKeys as problem:
            self._is_refused = True
            self._log.error("api_keys_refused", file=str(self._file), reason=str(problem))
            return
        if keys != self._keys or self._is_refused or is_asked_for:
            self._log.info("api_keys_applied", **_difference(self._keys, keys))
        self._is_refused = False
        self._keys = keys
        self.ring.replace(keys)

    def _checked(self, content: bytes | None) -> tuple[ApiKey, ...]:
        if content is not None and not content.strip() and self._keys:
            # A full disk or a slow writer leaves the same.
            raise BadKeys("it is empty; to refuse all clients, write a comment into it")
        return _parsed(content)


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


def _parsed(content: bytes | None) -> tuple[ApiKey, ...]:
    if content is None:
        raise BadKeys("it cannot be read")
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


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the operators' parts look at and act on."""

    store: AccountStore
    admin: AccountAdmin
    fleet: Fleet
    roster: Address[RosterMessage]
    router: Address[RouterMessage]
    make_guard_desk: Callable[[Address[SubmitGuard]], GuardDesk]
    address_of: Callable[[web.Request], str]  # of who asks, for the audit log
    config: Callable[[], Mapping[str, Any]]
    about: Mapping[str, Any]
    causes: Callable[[], tuple[SharedCause, ...]]  # those that last


class Operators:
    """The admin API, the page and their actors."""

    def __init__(
        self,
        around: Surroundings,
        gate: OperatorAuth | None,
        *,
        is_private: bool,
        clock: SystemClock,
        log: FilteringBoundLogger,
    ) -> None:
        """`is_private`: only operators may watch."""
        traffic, self._history = Traffic(), FleetHistory()
        self._traffic = traffic
        self.count = TrafficCount(traffic, wall=clock.wall)
        self._around = around
        self._gate = gate
        self._is_private = is_private
        self._clock = clock
        self._cause_log = CauseLog(clock=clock, log=log)
        self._audit = Audit(log, around.address_of)
        self._accounts: Address[AccountOrder] = Address("account_desk")
        self._guard: Address[SubmitGuard] = Address("guard_desk")
        self._fleet: Address[FleetOrder] = Address("fleet_desk")
        self.lookout: Address[DashboardMessage] = Address("lookout")

    def change_quota(self, quota: QuotaLimits) -> None:
        """Show budgets by other limits from now on."""
        self._around.admin.change_quota(quota)

    def children(self) -> dict[str, Callable[[], Child]]:
        """Return who is to run, in the order of their start, after the fleet and before HTTP."""
        desks: dict[str, Callable[[], Child]] = {
            "account_desk": self._make_account_desk,
            "guard_desk": lambda: self._around.make_guard_desk(self._guard),
        }
        return {
            "fleet_desk": self._make_fleet_desk,
            **({} if self._gate is None else desks),
            "lookout": self._make_lookout,
        }

    def routes(self) -> list[Routes]:
        """Return what they do over HTTP that is part of the API."""
        if self._gate is None:
            return []
        return [
            AdminRoutes(AdminDesks(self._accounts, self._guard, self._fleet), clock=self._clock)
        ]

    def add_to(self, app: web.Application) -> None:
        """Put the page into the application, and who may do what."""
        PageRoutes().add_to(app)
        EventsRoute(self.lookout, self._may_watch, clock=self._clock).add_to(app)
        SessionRoutes(self._gate, self._audit, is_private=self._is_private).add_to(app)
        if self._gate is not None:
            app.middlewares.append(operators_only(self._gate, self._audit, self._look_again))

    def _may_watch(self, request: web.Request) -> bool:
        if not self._is_private:
            return True
        return self._gate is not None and self._gate.is_operator(request)

    def _look_again(self) -> None:
        with contextlib.suppress(LocalProtocolError):  # it looks again soon anyway
            self.lookout.tell(Refresh())

    def _make_account_desk(self) -> AccountDesk:
        around = self._around
        return AccountDesk(around.store, around.admin, address=self._accounts, clock=self._clock)

    def _make_fleet_desk(self) -> FleetDesk:
        return FleetDesk(self._around.fleet, address=self._fleet, clock=self._clock)

    def _make_lookout(self) -> Dashboard:
        around = self._around
        sights = Sources(
            roster=around.roster,
            router=around.router,
            fleet=self._fleet,
            accounts=around.admin,
            traffic=self._traffic,
            history=self._history,
            config=around.config,
            about=around.about,
            causes=around.causes,
            cause_log=self._cause_log,
            not_here=around.store.avoided,
        )
        epoch = secrets.token_hex(4)
        return Dashboard(sights, address=self.lookout, epoch=epoch, clock=self._clock)
