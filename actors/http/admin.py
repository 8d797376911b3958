"""`/admin/...`: what an operator does. Only reached with the admin token (see `access`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import ValidationError

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
from actors.http.admin_operations import POST_GUARD, GuardCode
from actors.http.errors import error_body
from actors.http.json_response import json_response
from actors.http.operation import Operation

PREFIX: Final = "/admin"
# A log-on with a password takes seconds; with a code that is used up already up to half a minute more.
LOG_ON_S: Final = 90.0
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

    def guard_paths(self, app: web.Application) -> None:
        """Let only those who show the token get to what is below the prefix."""
        app.middlewares.append(admins_only(self._token, PREFIX))

    def routes(self) -> Iterable[tuple[Operation, Handler]]:
        """Return what it does."""
        return ((POST_GUARD, self.guard),)

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
    if not body:
        return None
    try:
        return GuardCode.model_validate_json(body).code
    except ValidationError:
        return error_body(400, "invalid", 'the body must be {"code": "ABCDE"}, or empty')
