"""`/admin/accounts`: list, add, import, remove, release, reset."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import asdict
from typing import Final

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from actors.accounts.desk import (
    AccountOrder,
    AddAccounts,
    ListAccounts,
    ReleaseAccount,
    RemoveAccount,
    ResetAccount,
)
from actors.accounts.import_file import BadEntry, new_account, read_accounts
from actors.accounts.names import same_account
from actors.actor import Address
from actors.http.auth.admin import add_facts
from actors.http.content import json_response
from actors.http.openapi.admin_operations import (
    DELETE_ACCOUNT,
    GET_ACCOUNTS,
    POST_ACCOUNT,
    POST_IMPORT,
    POST_RELEASE,
    POST_RESET,
    AccountToAdd,
)
from actors.http.openapi.operation import Operation
from actors.http.routes.admin_request import BadInput, Desk, body_of, is_forced

IMPORT_S: Final = 60.0
SHOWN: Final = 100  # bad entries that an answer repeats


class AccountRoutes:
    """Hands what an operator wants of accounts to their desk."""

    def __init__(self, accounts: Address[AccountOrder], desk: Desk) -> None:
        self._accounts = accounts
        self._desk = desk

    def routes(self) -> Iterable[tuple[Operation, Handler]]:
        """Return what it does."""
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
        rows = await self._desk.ask(self._accounts, ListAccounts())
        return json_response(request, orjson.dumps({"accounts": [asdict(row) for row in rows]}))

    async def add(self, request: web.Request) -> web.Response:
        """Add one, or change its password."""
        asked = await body_of(request, AccountToAdd)
        account = new_account(asked.name, asked.password, asked.shared_secret)
        if isinstance(account, BadEntry):
            raise BadInput(account.problem)
        add_facts(request, account=account.name)
        (name,) = await self._desk.ask(self._accounts, AddAccounts((account,)))
        return _done(request, name, "added", status=201)

    async def import_(self, request: web.Request) -> web.Response:
        """Add all accounts of a file, or none and say why."""
        files = (("", await request.read()),)
        found = await asyncio.to_thread(read_accounts, files)  # seconds, for 4 MiB
        add_facts(request, imported=len(found.accounts), refused=len(found.problems))
        problems = list(found.problems)
        if found.accounts:
            order = AddAccounts(found.accounts)
            names = await self._desk.ask(self._accounts, order, within_s=IMPORT_S)
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
        """Forget one and its secrets; with `force` also one that is in use."""
        account = request.match_info["name"]
        order = RemoveAccount(account, force=is_forced(request))
        await self._desk.ask(self._accounts, order)
        return _done(request, account, "removed")

    async def release(self, request: web.Request) -> web.Response:
        """Free one that a crashed client left checked out; with `force` also one that a bot has."""
        account = request.match_info["name"]
        order = ReleaseAccount(account, force=is_forced(request))
        await self._desk.ask(self._accounts, order)
        return _done(request, account, "released")

    async def reset(self, request: web.Request) -> web.Response:
        """End the cooldown of one and give it its whole budget."""
        account = request.match_info["name"]
        await self._desk.ask(self._accounts, ResetAccount(account))
        return _done(request, account, "reset")


def _done(request: web.Request, account: str, what: str, *, status: int = 200) -> web.Response:
    body = orjson.dumps({"account": account, "state": what})
    return json_response(request, body, status=status)
