"""`/admin/...`, for operators: accounts, Steam Guard codes, the fleet and its bots."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final, TypeVar

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ValidationError

from actors.accounts.admin import AccountAdmin
from actors.accounts.import_file import BadEntry, add_all, new_account, read_accounts
from actors.accounts.names import same_account
from actors.accounts.store import AccountStore
from actors.bot.messages import FleetControl, FleetPlan
from actors.bot.steam_guard import SteamGuard
from actors.clock import Clock, within
from actors.dashboard.dashboard import Dashboard
from actors.errors import (
    AccountInUse,
    BadAccountName,
    CannotDecrypt,
    FleetIsDrained,
    LocalProtocolError,
    NoPassword,
    NoSuchAccount,
    NoSuchBot,
    PasswordNeeded,
    SameSteamAccount,
    ServiceError,
    StoreMisused,
    StoreUnavailable,
)
from actors.http.auth.admin import READING, UNAUTHENTICATED, Audit, OperatorAuth, add_facts
from actors.http.content import json_response
from actors.http.errors import error_body
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

PREFIX: Final = "/admin"
ANSWER_S: Final = 10.0
IMPORT_S: Final = 60.0
# A log-on with a password takes seconds; with a used code it takes up to 30 s more.
LOG_ON_S: Final = 90.0
SHOWN: Final = 100  # bad entries in an answer
REFUSALS: Final[Mapping[type[ServiceError], tuple[int, str]]] = {
    NoSuchAccount: (404, "not-found"),
    NoSuchBot: (404, "not-found"),
    AccountInUse: (409, "in-use"),
    SameSteamAccount: (409, "in-use"),
    BadAccountName: (409, "bad-name"),
    FleetIsDrained: (409, "drained"),
    NoPassword: (409, "no-password"),
    PasswordNeeded: (409, "no-password"),
    CannotDecrypt: (409, "sealed"),
    StoreUnavailable: (503, "store-unavailable"),
    StoreMisused: (503, "store-misused"),
}

R = TypeVar("R")
Body = TypeVar("Body", bound=BaseModel)


class BadInput(ValueError):
    """A request that cannot be used; the text says what is expected."""


class Orders:
    """Runs operators' orders; an order continues when its client disconnects or its time is over."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running: set[asyncio.Task[Any]] = set()

    async def run(self, order: Coroutine[Any, Any, R], *, within_s: float = ANSWER_S) -> R:
        """Return the result of `order`.

        Raises:
            ServiceError: the order failed.
            TimeoutError: it takes more than `within_s` seconds, and continues.
        """
        task = asyncio.create_task(order)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        async with within(self._clock, within_s):
            return await asyncio.shield(task)


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
            who, answer = operator, await _answer(request, handler)
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
            outcome = await self._steam_guard.submit(request.match_info["name"], code)
        state = "logged-on" if outcome.need is None else "code-wanted"
        body = orjson.dumps({"account": outcome.account, "state": state, "need": outcome.need})
        return json_response(request, body, status=200 if outcome.need is None else 202)

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


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except BadInput as error:
        return error_body(400, "invalid", str(error))
    except (TimeoutError, LocalProtocolError):
        return error_body(504, "timeout", "it takes too long; look what became of it", 5.0)
    except ServiceError as error:
        # Errors that are not in the table are Steam's.
        status, word = REFUSALS.get(type(error), (502, "steam-refused"))
        return error_body(status, word, str(error), getattr(error, "retry_after", None))


def _done(request: web.Request, account: str, what: str, *, status: int = 200) -> web.Response:
    body = orjson.dumps({"account": account, "state": what})
    return json_response(request, body, status=status)


def _plan(request: web.Request, plan: FleetPlan, *, status: int = 202) -> web.Response:
    return json_response(request, orjson.dumps(asdict(plan)), status=status)


async def body_of(request: web.Request, kind: type[Body]) -> Body:
    """Return a request's body.

    Raises:
        BadInput: it is invalid; the text never repeats what was sent.
    """
    try:
        return kind.model_validate_json(await request.read())
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        raise BadInput(f"{where}: {first['msg']}") from None


def is_forced(request: web.Request) -> bool:
    """Return whether the request has `?force=1`.

    Raises:
        BadInput: `force` is neither 0 nor 1.
    """
    said = request.query.getall("force", ["0"])
    if said not in (["0"], ["1"]):
        raise BadInput("force must be 0 or 1")
    if said == ["1"]:
        add_facts(request, force=True)
    return said == ["1"]
