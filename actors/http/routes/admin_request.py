"""Shared parts of the admin routes: request body, orders with a time limit, refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Final, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ValidationError

from actors.clock import Clock, within
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
from actors.http.auth.admin import add_facts
from actors.http.errors import error_body

ANSWER_S: Final = 10.0
IMPORT_S: Final = 60.0
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


async def answer_of(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Return the response of a handler, or of the error that it raises."""
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
