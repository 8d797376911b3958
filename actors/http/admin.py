"""`/admin/...`: what an operator does. Only reached with the admin token (see `access`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from actors.actor import Address
from actors.clock import Clock
from actors.errors import (
    AccountInUse,
    CannotUnseal,
    LocalProtocolError,
    NoPassword,
    NoSuchAccount,
    ServiceError,
    StoreUnavailable,
)
from actors.guard_desk import GuardOutcome, SubmitGuard
from actors.http.access import AdminToken, admins_only
from actors.http.errors import error_body
from actors.http.json_response import json_response

PREFIX: Final = "/admin"
# A log-on with a password takes seconds; with a code that is used up already up to half a minute more.
LOG_ON_S: Final = 90.0
LONGEST_CODE: Final = 10
REFUSALS: Final[Mapping[type[ServiceError], tuple[int, str]]] = {
    NoSuchAccount: (404, "not-found"),
    AccountInUse: (409, "in-use"),
    NoPassword: (409, "no-password"),
    CannotUnseal: (409, "sealed"),
    StoreUnavailable: (503, "store-unavailable"),
}


class AdminRoutes:
    """Hands an operator's wishes to those who can fulfil them."""

    def __init__(
        self, guard_desk: Address[SubmitGuard], token: AdminToken, *, clock: Clock
    ) -> None:
        self._guard_desk = guard_desk
        self._token = token
        self._clock = clock

    def add_to(self, app: web.Application) -> None:
        """Put the routes, and who may use them, into the application."""
        app.middlewares.append(admins_only(self._token, PREFIX))
        app.router.add_post(f"{PREFIX}/accounts/{{name}}/guard", self.guard)

    async def guard(self, request: web.Request) -> web.Response:
        """Log an account on with a Steam Guard code, or begin to: `{"code": "ABCDE"}` or no body.

        200 when it is logged on and its token stored, 202 with `need` when a code is wanted (again).
        """
        code = _code(await request.read())
        if isinstance(code, web.Response):
            return code
        submit = SubmitGuard(request.match_info["name"], code)
        try:
            deadline = self._clock.now() + LOG_ON_S
            outcome = await self._guard_desk.ask(submit, deadline=deadline)
        except (TimeoutError, LocalProtocolError):
            return error_body(504, "timeout", "the log-on takes too long; ask again", 5.0)
        except ServiceError as error:
            return _refusal(error)
        return _answer(request, outcome)


def _refusal(error: ServiceError) -> web.Response:
    """What is not in the table was Steam's decision."""
    status, word = REFUSALS.get(type(error), (502, "steam-refused"))
    return error_body(status, word, str(error), getattr(error, "retry_after", None))


def _answer(request: web.Request, outcome: GuardOutcome) -> web.Response:
    state = "logged-on" if outcome.need is None else "code-wanted"
    body = orjson.dumps({"account": outcome.account, "state": state, "need": outcome.need})
    answer = json_response(request, body)
    answer.set_status(200 if outcome.need is None else 202)
    return answer


def _code(body: bytes) -> str | web.Response | None:
    """Return the code in a request's body, None where there is none, or what to answer instead."""
    refusal = error_body(400, "invalid", 'the body must be {"code": "ABCDE"}, or empty')
    if not body:
        return None
    try:
        asked: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return refusal
    code = asked.get("code") if isinstance(asked, dict) else 0
    if code is None:
        return None
    if not isinstance(code, str) or not 0 < len(code.strip()) <= LONGEST_CODE:
        return refusal
    return code.strip()
