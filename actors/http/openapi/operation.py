"""Operation, Answer: one operation of the API for routes and document."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel

from actors.errors import RequestError
from actors.http.errors import PROTOCOL, TABLE

Words = Mapping[int, tuple[str, ...]]  # status -> the words an error of it may have
# What may be wrong with a body before anybody reads it.
BODY: Final[Words] = {status: (PROTOCOL[status][0],) for status in (408, 413, 415)}


class Needs(enum.Enum):
    """What one must show."""

    NOTHING = enum.auto()
    KEY = enum.auto()  # an API key, where the service has any
    ANY_KEY = enum.auto()  # the same, but it may also stand in the query
    ADMIN = enum.auto()  # the admin token


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered when all is well, or other than by an error in the API's own form."""

    summary: str
    # Media type -> a type, the name of a component, or a schema as it is.
    content: Mapping[str, type[BaseModel] | str | dict[str, Any]] = field(default_factory=dict)
    headers: tuple[str, ...] = ()  # by name; `openapi` knows what they mean


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. Its input types also validate the request."""

    method: str
    path: str
    summary: str
    details: str
    answers: Mapping[int, Answer]
    errors: Words
    tag: str = "matches"
    in_path: type[BaseModel] | None = None
    in_query: type[BaseModel] | None = None
    in_headers: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    body_is_text: bool = False  # whatever it says; then there is no type
    body_is_required: bool = True
    needs: Needs = Needs.KEY


class Routes(Protocol):
    """Some operations and who carries them out."""

    def routes(self) -> Iterable[tuple[Operation, Handler]]:
        """Return them."""


def add_routes(app: web.Application, *groups: Routes) -> Iterator[Operation]:
    """Serve each operation; yield them, so that they can be described."""
    for group in groups:
        for operation, handler in group.routes():
            for method in _methods(operation):
                app.router.add_route(method, _route(operation.path), handler)
            yield operation


def _methods(operation: Operation) -> tuple[str, ...]:
    """Return the methods of the route: GET includes HEAD (RFC 9110)."""
    return {"GET": ("GET", "HEAD")}.get(operation.method, (operation.method,))


def _route(path: str) -> str:
    """Let a parameter be anything; aiohttp's own has no braces, and a bad id shall not be a bad path."""
    return re.sub(r"{(\w+)}", r"{\1:[^/]+}", path)


def words(*errors: type[RequestError] | Words) -> Words:
    """Collect the words of rows of the error table, and of others, by status."""
    found: dict[int, tuple[str, ...]] = {}
    for one in errors:
        rows = one if isinstance(one, Mapping) else {TABLE[one][0]: (TABLE[one][1],)}
        for status, more in rows.items():
            found[status] = tuple(dict.fromkeys((*found.get(status, ()), *more)))
    return found
