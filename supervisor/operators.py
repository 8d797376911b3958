"""Builds the operators' part for the tree: desks, lookout, page; imports `actors` too.

The page is always served. Operations that change something require the admin token; without a token they
do not exist. Only operators may watch if other machines can reach the API, since the page shows account
names, or if an admin token file or an API key file is configured. Otherwise every client may watch.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from actors.account_desk import AccountDesk, AccountOrder
from actors.accounts.admin import AccountAdmin
from actors.accounts.quota import QuotaLimits
from actors.accounts.store import Accounts
from actors.actor import Address
from actors.cause_log import CauseLog
from actors.errors import LocalProtocolError
from actors.fleet_history import FleetHistory
from actors.fleet_orders import FleetOrder
from actors.guard_desk import GuardDesk, SubmitGuard
from actors.http.admin import AdminDesks, AdminRoutes
from actors.http.admin_desk import operators_only
from actors.http.audit import Audit
from actors.http.events import EventsRoute
from actors.http.gate import Gate
from actors.http.operation import Routes
from actors.http.page_routes import PageRoutes
from actors.http.session_routes import SessionRoutes
from actors.http.traffic_count import TrafficCount
from actors.lookout import LookAgain, Lookout, LookoutMessage, Sights
from actors.messages import RouterMessage
from actors.roster import RosterMessage
from actors.shared_causes import SharedCause
from actors.traffic import Traffic
from supervisor.child import Child
from supervisor.clock import SystemClock
from supervisor.fleet import Fleet
from supervisor.fleet_desk import FleetDesk


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the operators' parts look at and act on."""

    store: Accounts
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
        gate: Gate | None,
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
        self.lookout: Address[LookoutMessage] = Address("lookout")

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
            self.lookout.tell(LookAgain())

    def _make_account_desk(self) -> AccountDesk:
        around = self._around
        return AccountDesk(around.store, around.admin, address=self._accounts, clock=self._clock)

    def _make_fleet_desk(self) -> FleetDesk:
        return FleetDesk(self._around.fleet, address=self._fleet, clock=self._clock)

    def _make_lookout(self) -> Lookout:
        around = self._around
        sights = Sights(
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
        return Lookout(sights, address=self.lookout, epoch=epoch, clock=self._clock)
