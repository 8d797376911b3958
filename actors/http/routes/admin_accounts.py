"""`/admin/accounts`: list, add, import, remove, release, reset."""

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
from actors.http.routes.admin_request import BadInput, Orders, body_of, is_forced

IMPORT_S: Final = 60.0
SHOWN: Final = 100  # bad entries in an answer


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
