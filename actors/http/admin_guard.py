"""`POST /admin/accounts/NAME/guard`: a Steam Guard code. Only reached by operators (see `admin`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from actors.actor import Address
from actors.guard_desk import SubmitGuard
from actors.http.admin_desk import BadInput, Desk, body_of
from actors.http.admin_operations import POST_GUARD, GuardCode
from actors.http.json_response import json_response
from actors.http.operation import Operation

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
