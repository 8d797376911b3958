"""`/admin/...`: the fleet, its bots, Steam Guard codes, and the accounts of admin_accounts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Final

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from actors.accounts.desk import AccountOrder
from actors.actor import Address, Ask
from actors.bot.messages import (
    DrainFleet,
    FleetOrder,
    FleetPlan,
    GetFleetPlan,
    ParkBot,
    RestartBot,
    ResumeFleet,
    ScaleFleet,
    UnparkBot,
)
from actors.bot.steam_guard import SubmitGuard
from actors.clock import Clock
from actors.http.auth.admin import add_facts
from actors.http.content import json_response
from actors.http.openapi.admin_operations import (
    GET_FLEET,
    POST_DRAIN,
    POST_GUARD,
    POST_PARK,
    POST_RESTART,
    POST_RESUME,
    POST_SCALE,
    POST_UNPARK,
    FleetSize,
    GuardCode,
)
from actors.http.openapi.operation import Operation
from actors.http.routes.admin_accounts import AccountRoutes
from actors.http.routes.admin_request import BadInput, Desk, body_of


class FleetRoutes:
    """Hands an operator's orders to the fleet; each is answered with what it is meant to be then."""

    def __init__(self, fleet: Address[FleetOrder], desk: Desk) -> None:
        self._fleet = fleet
        self._desk = desk

    def routes(self) -> Iterable[tuple[Operation, Handler]]:
        """Return what it does."""
        return (
            (POST_RESTART, self.restart),
            (POST_PARK, self.park),
            (POST_UNPARK, self.unpark),
            (GET_FLEET, self.plan),
            (POST_SCALE, self.scale),
            (POST_DRAIN, self.drain),
            (POST_RESUME, self.resume),
        )

    async def restart(self, request: web.Request) -> web.Response:
        """Restart a bot: it finishes its requests, logs off, and starts again."""
        return await self._order(request, RestartBot(request.match_info["bot_id"]))

    async def park(self, request: web.Request) -> web.Response:
        """Let a bot finish what it has, log off, and stay away."""
        return await self._order(request, ParkBot(request.match_info["bot_id"]))

    async def unpark(self, request: web.Request) -> web.Response:
        """Let a parked bot work; one that waits for its next try begins it now."""
        return await self._order(request, UnparkBot(request.match_info["bot_id"]))

    async def plan(self, request: web.Request) -> web.Response:
        """What the fleet is meant to be."""
        return await self._order(request, GetFleetPlan(), status=200)

    async def scale(self, request: web.Request) -> web.Response:
        """Have another number of bots."""
        count = (await body_of(request, FleetSize)).count
        add_facts(request, count=count)
        return await self._order(request, ScaleFleet(count))

    async def drain(self, request: web.Request) -> web.Response:
        """Let every bot finish, log off and give its account back."""
        return await self._order(request, DrainFleet())

    async def resume(self, request: web.Request) -> web.Response:
        """Resume all bots except those that an operator parked."""
        return await self._order(request, ResumeFleet())

    async def _order(
        self, request: web.Request, order: Ask[FleetPlan], *, status: int = 202
    ) -> web.Response:
        plan = await self._desk.ask(self._fleet, order)
        return json_response(request, orjson.dumps(asdict(plan)), status=status)


# A log-on with a password takes seconds; with a code that is used up already up to half a minute more.
LOG_ON_S: Final = 90.0


class GuardRoute:
    """Brings codes to their desk."""

    def __init__(self, guard_desk: Address[SubmitGuard], desk: Desk) -> None:
        self._guard_desk = guard_desk
        self._desk = desk

    def routes(self) -> Iterable[tuple[Operation, Handler]]:
        """Return what it does."""
        return ((POST_GUARD, self.guard),)

    async def guard(self, request: web.Request) -> web.Response:
        """Log an account on with a Steam Guard code, or begin to: `{"code": "ABCDE"}` or no body.

        200 when it is logged on and its token stored, 202 with `need` when a code is wanted (again).
        """
        submit = SubmitGuard(request.match_info["name"], await _code(request))
        outcome = await self._desk.ask(self._guard_desk, submit, within_s=LOG_ON_S)
        state = "logged-on" if outcome.need is None else "code-wanted"
        body = orjson.dumps({"account": outcome.account, "state": state, "need": outcome.need})
        return json_response(request, body, status=200 if outcome.need is None else 202)


async def _code(request: web.Request) -> str | None:
    """Return the code in a request's body, None where there is none."""
    if not await request.read():
        return None
    try:
        return (await body_of(request, GuardCode)).code
    except BadInput:
        raise BadInput('the body must be {"code": "ABCDE"}, or empty') from None


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
