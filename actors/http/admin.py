"""`/admin/...`: what an operator does, and who may. Parts: admin_accounts, admin_fleet, admin_guard."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from aiohttp.typedefs import Handler

from actors.account_desk import AccountOrder
from actors.actor import Address
from actors.clock import Clock
from actors.fleet_orders import FleetOrder
from actors.guard_desk import SubmitGuard
from actors.http.admin_accounts import AccountRoutes
from actors.http.admin_desk import Desk
from actors.http.admin_fleet import FleetRoutes
from actors.http.admin_guard import GuardRoute
from actors.http.operation import Operation


@dataclass(frozen=True, slots=True)
class AdminDesks:
    """The actors that carry out what an operator wants."""

    accounts: Address[AccountOrder]
    guard: Address[SubmitGuard]
    fleet: Address[FleetOrder]


class AdminRoutes:
    """All of them; who may use them is the business of `operators_only`."""

    def __init__(self, desks: AdminDesks, *, clock: Clock) -> None:
        desk = Desk(clock)
        self._parts = (
            AccountRoutes(desks.accounts, desk),
            GuardRoute(desks.guard, desk),
            FleetRoutes(desks.fleet, desk),
        )

    def routes(self) -> Iterable[tuple[Operation, Handler]]:
        """Return what they do."""
        return tuple(route for part in self._parts for route in part.routes())
