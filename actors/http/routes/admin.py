"""`/admin/...`: accounts, Steam Guard codes, the fleet and its bots."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import asdict
from typing import Final

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from actors.accounts.admin import AccountAdmin
from actors.accounts.import_file import BadEntry, add_all, new_account, read_accounts
from actors.accounts.names import same_account
from actors.accounts.store import AccountStore
from actors.bot.messages import FleetControl, FleetPlan
from actors.bot.steam_guard import SteamGuard
from actors.clock import Clock, within
from actors.http.auth.admin import add_facts
from actors.http.content import json_response
from actors.http.openapi.admin_operations import (
    DELETE_ACCOUNT,
    GET_ACCOUNTS,
    GET_FLEET,
    POST_ACCOUNT,
    POST_DRAIN,
    POST_GUARD,
    POST_IMPORT,
    POST_PARK,
    POST_RELEASE,
    POST_RESET,
    POST_RESTART,
    POST_RESUME,
    POST_SCALE,
    POST_UNPARK,
    AccountToAdd,
    FleetSize,
    GuardCode,
)
from actors.http.openapi.operation import Operation
from actors.http.routes.admin_request import BadInput, Orders, body_of, is_forced

IMPORT_S: Final = 60.0
SHOWN: Final = 100  # bad entries in an answer
# A log-on with a password takes seconds; with a used code it takes up to 30 s more.
LOG_ON_S: Final = 90.0


class AccountRoutes:
    """Routes that change accounts in Redis."""

    def __init__(self, store: AccountStore, admin: AccountAdmin, orders: Orders) -> None:
        self._store = store
        self._admin = admin
        self._orders = orders

    def routes(self) -> Iterable[tuple[Operation, Handler]]:
        """Return the operations and their handlers."""
        return (
            (GET_ACCOUNTS, self.list),
            (POST_ACCOUNT, self.add),
            (POST_IMPORT, self.import_),
            (DELETE_ACCOUNT, self.remove),
            (POST_RELEASE, self.release),
            (POST_RESET, self.reset),
        )

    async def list(self, request: web.Request) -> web.Response:
        """Every account: state, budget, holder, cooldown, last log-on."""
        rows = await self._orders.run(self._admin.overview())
        return json_response(request, orjson.dumps({"accounts": [asdict(row) for row in rows]}))

    async def add(self, request: web.Request) -> web.Response:
        """Add an account, or change its password."""
        asked = await body_of(request, AccountToAdd)
        account = new_account(asked.name, asked.password, asked.shared_secret)
        if isinstance(account, BadEntry):
            raise BadInput(account.problem)
        add_facts(request, account=account.name)
        (name,) = await self._orders.run(add_all(self._store, (account,)))
        return _done(request, name, "added", status=201)

    async def import_(self, request: web.Request) -> web.Response:
        """Add the accounts of a file."""
        files = (("", await request.read()),)
        found = await asyncio.to_thread(read_accounts, files)  # seconds, for 4 MiB
        add_facts(request, imported=len(found.accounts), refused=len(found.problems))
        problems = list(found.problems)
        if found.accounts:
            order = add_all(self._store, found.accounts)
            names = await self._orders.run(order, within_s=IMPORT_S)
            problems = [
                BadEntry(f"account {one.name}", same_account(one.name, name))
                for one, name in zip(found.accounts, names, strict=True)
                if name != one.name
            ]
        answer = {
            "imported": len(found.accounts),
            "refused": len(found.problems),
            "problems": [asdict(entry) for entry in problems[:SHOWN]],
        }
        return json_response(request, orjson.dumps(answer))

    async def remove(self, request: web.Request) -> web.Response:
        """Remove an account and its secrets; with `force` also one that is in use."""
        account = request.match_info["name"]
        await self._orders.run(self._admin.remove(account, force=is_forced(request)))
        return _done(request, account, "removed")

    async def release(self, request: web.Request) -> web.Response:
        """Release an account that a crashed client left checked out; with `force` also a bot's."""
        account = request.match_info["name"]
        await self._orders.run(self._admin.release(account, force=is_forced(request)))
        return _done(request, account, "released")

    async def reset(self, request: web.Request) -> web.Response:
        """End an account's cooldown and restore its budget."""
        account = request.match_info["name"]
        await self._orders.run(self._admin.reset(account))
        return _done(request, account, "reset")


def _done(request: web.Request, account: str, what: str, *, status: int = 200) -> web.Response:
    body = orjson.dumps({"account": account, "state": what})
    return json_response(request, body, status=status)


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
            need = await self._steam_guard.submit(account := request.match_info["name"], code)
        state = "logged-on" if need is None else "code-wanted"
        body = orjson.dumps({"account": account, "state": state, "need": need})
        return json_response(request, body, status=200 if need is None else 202)


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
