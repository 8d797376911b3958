"""`/admin/...`: the fleet, its bots, Steam Guard codes, and the accounts of admin_accounts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Final

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from actors.accounts.admin import AccountAdmin
from actors.accounts.store import AccountStore
from actors.bot.messages import FleetControl, FleetPlan
from actors.bot.steam_guard import SteamGuard
from actors.clock import Clock, within
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
from actors.http.routes.admin_request import BadInput, Orders, body_of


class FleetRoutes:
    """Routes that control the fleet; each answers with its intended state."""

    def __init__(self, fleet: FleetControl, orders: Orders) -> None:
        self._fleet = fleet
        self._orders = orders

    def routes(self) -> Iterable[tuple[Operation, Handler]]:
        """Return the operations and their handlers."""
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
        return _answer(request, self._fleet.restart(request.match_info["bot_id"]))

    async def park(self, request: web.Request) -> web.Response:
        """Let a bot finish its requests, log off and stay stopped."""
        return _answer(request, self._fleet.park(request.match_info["bot_id"]))

    async def unpark(self, request: web.Request) -> web.Response:
        """Start a parked or backing-off bot now."""
        return _answer(request, self._fleet.unpark(request.match_info["bot_id"]))

    async def plan(self, request: web.Request) -> web.Response:
        """Return the intended state of the fleet."""
        return _answer(request, self._fleet.plan(), status=200)

    async def scale(self, request: web.Request) -> web.Response:
        """Change the number of bots."""
        count = (await body_of(request, FleetSize)).count
        add_facts(request, count=count)
        return _answer(request, await self._orders.run(self._fleet.scale(count)))

    async def drain(self, request: web.Request) -> web.Response:
        """Let every bot finish, log off and release its account."""
        return _answer(request, await self._orders.run(self._fleet.drain()))

    async def resume(self, request: web.Request) -> web.Response:
        """Resume all bots except those that an operator parked."""
        return _answer(request, await self._orders.run(self._fleet.resume()))


def _answer(request: web.Request, plan: FleetPlan, *, status: int = 202) -> web.Response:
    return json_response(request, orjson.dumps(asdict(plan)), status=status)


# A log-on with a password takes seconds; with a used code it takes up to 30 s more.
LOG_ON_S: Final = 90.0


class GuardRoute:
    """Route that passes Steam Guard codes on."""

    def __init__(self, steam_guard: SteamGuard, clock: Clock) -> None:
        self._steam_guard = steam_guard
        self._clock = clock

    def routes(self) -> Iterable[tuple[Operation, Handler]]:
        """Return the operation and its handler."""
        return ((POST_GUARD, self.guard),)

    async def guard(self, request: web.Request) -> web.Response:
        """Log an account on with a Steam Guard code, or begin to: `{"code": "ABCDE"}` or no body.

        200: the account is logged on and its token stored. 202: Steam asks for the code in `need`.
        """
        code = await _code(request)
        async with within(self._clock, LOG_ON_S):  # the log-on itself continues
            outcome = await self._steam_guard.submit(request.match_info["name"], code)
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


class AdminRoutes:
    """All admin routes. `operators_only` checks the operator before each."""

    def __init__(
        self,
        store: AccountStore,
        admin: AccountAdmin,
        steam_guard: SteamGuard,
        fleet: FleetControl,
        *,
        clock: Clock,
    ) -> None:
        orders = Orders(clock)
        self._parts = (
            AccountRoutes(store, admin, orders),
            GuardRoute(steam_guard, clock),
            FleetRoutes(fleet, orders),
        )

    def routes(self) -> Iterable[tuple[Operation, Handler]]:
        """Return the operations and their handlers."""
        return tuple(route for part in self._parts for route in part.routes())
