"""`/admin/...`, for operators: accounts, Steam Guard codes, the fleet and its bots."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Final

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from actors.accounts.admin import AccountAdmin
from actors.accounts.formats import same_account
from actors.accounts.import_file import BadEntry, add_all, new_account, read_accounts
from actors.accounts.store import AccountStore
from actors.bot.messages import FleetControl, FleetPlan
from actors.bot.steam_guard import SteamGuard
from actors.clock import Clock, within
from actors.dashboard.dashboard import Dashboard
from actors.http.auth.admin import READING, UNAUTHENTICATED, Audit, OperatorAuth, add_facts
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
from actors.http.routes.admin_request import (
    IMPORT_S,
    BadInput,
    Orders,
    answer_of,
    body_of,
    is_forced,
)

PREFIX: Final = "/admin"
# A log-on with a password takes seconds; with a used code it takes up to 30 s more.
LOG_ON_S: Final = 90.0
SHOWN: Final = 100  # bad entries in an answer


class AdminRoutes:
    """All admin routes."""

    def __init__(
        self,
        operators: OperatorAuth,
        audit: Audit,
        dashboard: Dashboard,
        *,
        store: AccountStore,
        accounts: AccountAdmin,
        steam_guard: SteamGuard,
        fleet: FleetControl,
        clock: Clock,
    ) -> None:
        self._operators = operators
        self._audit = audit
        self._dashboard = dashboard
        self._store = store
        self._accounts = accounts
        self._steam_guard = steam_guard
        self._fleet = fleet
        self._clock = clock
        self._orders = Orders(clock)

    def routes(self) -> Iterable[tuple[Operation, Handler]]:
        """Return the operations and their handlers."""
        return (
            (GET_ACCOUNTS, self.list_accounts),
            (POST_ACCOUNT, self.add_account),
            (POST_IMPORT, self.import_accounts),
            (DELETE_ACCOUNT, self.remove_account),
            (POST_RELEASE, self.release_account),
            (POST_RESET, self.reset_account),
            (POST_GUARD, self.guard),
            (POST_RESTART, self._bot_route(self._fleet.restart)),
            (POST_PARK, self._bot_route(self._fleet.park)),
            (POST_UNPARK, self._bot_route(self._fleet.unpark)),
            (GET_FLEET, self.fleet_plan),
            (POST_SCALE, self.scale_fleet),
            (POST_DRAIN, self.drain_fleet),
            (POST_RESUME, self.resume_fleet),
        )

    @web.middleware
    async def operators_only(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Check the operator before a route; audit each change, and show it on the page."""
        operator = self._operators.check(request)
        if isinstance(operator, str):
            who, answer = operator, await answer_of(request, handler)
        else:
            who, answer = UNAUTHENTICATED, operator
        if request.method not in READING:
            self._audit.write(request, who, answer)
            self._dashboard.refresh()
        return answer

    # -- accounts in Redis ---------------------------------------------------------------------

    async def list_accounts(self, request: web.Request) -> web.Response:
        """Every account: state, budget, holder, cooldown, last log-on."""
        rows = await self._orders.run(self._accounts.overview())
        return json_response(request, orjson.dumps({"accounts": [asdict(row) for row in rows]}))

    async def add_account(self, request: web.Request) -> web.Response:
        """Add an account, or change its password."""
        asked = await body_of(request, AccountToAdd)
        account = new_account(asked.name, asked.password, asked.shared_secret)
        if isinstance(account, BadEntry):
            raise BadInput(account.problem)
        add_facts(request, account=account.name)
        (name,) = await self._orders.run(add_all(self._store, (account,)))
        return _done(request, name, "added", status=201)

    async def import_accounts(self, request: web.Request) -> web.Response:
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

    async def remove_account(self, request: web.Request) -> web.Response:
        """Remove an account and its secrets; with `force` also one that is in use."""
        account = request.match_info["name"]
        await self._orders.run(self._accounts.remove(account, force=is_forced(request)))
        return _done(request, account, "removed")

    async def release_account(self, request: web.Request) -> web.Response:
        """Release an account that a crashed client left checked out; with `force` also a bot's."""
        account = request.match_info["name"]
        await self._orders.run(self._accounts.release(account, force=is_forced(request)))
        return _done(request, account, "released")

    async def reset_account(self, request: web.Request) -> web.Response:
        """End an account's cooldown and restore its budget."""
        account = request.match_info["name"]
        await self._orders.run(self._accounts.reset(account))
        return _done(request, account, "reset")

    async def guard(self, request: web.Request) -> web.Response:
        """Log an account on with a Steam Guard code, or begin to: `{"code": "ABCDE"}` or no body.

        200: the account is logged on and its token stored. 202: Steam asks for the code in `need`.
        """
        try:
            code = (await body_of(request, GuardCode)).code if await request.read() else None
        except BadInput:
            raise BadInput('the body must be {"code": "ABCDE"}, or empty') from None
        async with within(self._clock, LOG_ON_S):  # the log-on itself continues
            need = await self._steam_guard.submit(account := request.match_info["name"], code)
        state = "logged-on" if need is None else "code-wanted"
        body = orjson.dumps({"account": account, "state": state, "need": need})
        return json_response(request, body, status=200 if need is None else 202)

    # -- the fleet; each answers with its intended state ---------------------------------------

    @staticmethod
    def _bot_route(order: Callable[[str], FleetPlan]) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            return _plan(request, order(request.match_info["bot_id"]))

        return handler

    async def fleet_plan(self, request: web.Request) -> web.Response:
        """Return the intended state of the fleet."""
        return _plan(request, self._fleet.plan(), status=200)

    async def scale_fleet(self, request: web.Request) -> web.Response:
        """Change the number of bots."""
        count = (await body_of(request, FleetSize)).count
        add_facts(request, count=count)
        return _plan(request, await self._orders.run(self._fleet.scale(count)))

    async def drain_fleet(self, request: web.Request) -> web.Response:
        """Let every bot finish, log off and release its account."""
        return _plan(request, await self._orders.run(self._fleet.drain()))

    async def resume_fleet(self, request: web.Request) -> web.Response:
        """Resume all bots except those that an operator parked."""
        return _plan(request, await self._orders.run(self._fleet.resume()))


def _done(request: web.Request, account: str, what: str, *, status: int = 200) -> web.Response:
    body = orjson.dumps({"account": account, "state": what})
    return json_response(request, body, status=status)


def _plan(request: web.Request, plan: FleetPlan, *, status: int = 202) -> web.Response:
    return json_response(request, orjson.dumps(asdict(plan)), status=status)
