"""Operation of the API: one method of one path, for its route and for the OpenAPI document."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Literal, Protocol, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, TypeAdapter, ValidationError

from actors.errors import InvalidRequest, RequestError
from actors.http.content import JSON
from actors.http.errors import PROTOCOL, TABLE

Words = Mapping[int, tuple[str, ...]]  # status -> error words
# Errors of every operation with a body.
BODY: Final[Words] = {status: (PROTOCOL[status][0],) for status in (408, 413, 415)}
T = TypeVar("T")


class Needs(enum.Enum):
    """Credential that an operation requires."""

    NOTHING = enum.auto()
    KEY = enum.auto()  # an API key, if the service has any
    ANY_KEY = enum.auto()  # the same; the key may also be in the query
    ADMIN = enum.auto()  # the admin token


# Media type -> a type, the name of a component, or a schema.
Content = Mapping[str, type[BaseModel] | str | dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A response; an error in the API's own form is only an error word of the operation."""

    summary: str
    content: Content = field(default_factory=dict)
    headers: tuple[str, ...] = ()  # names; document.py describes them


def in_json(status: int, summary: str, schema: type[BaseModel] | str) -> Mapping[int, Answer]:
    """Return the response with this status, in JSON."""
    return {status: Answer(summary, {JSON: schema})}


@dataclass(frozen=True, slots=True, eq=False)
class Parameter(Generic[T]):
    """A parameter of an operation: validates a value and describes it."""

    name: str
    place: Literal["path", "query", "header"]
    type: TypeAdapter[T]
    description: str
    problem: str = ""  # the error message about an invalid value
    examples: Sequence[object] = ()
    is_required: bool = True
    default: str | None = None

    def parse(self, text: str) -> T:
        """Return the value in `text`.

        Raises:
            InvalidRequest: it is invalid.
        """
        try:
            return self.type.validate_python(text)
        except ValidationError:
            raise InvalidRequest(self.problem) from None

    def described(self) -> dict[str, Any]:
        """Return the parameter object of the OpenAPI document."""
        schema = self.type.json_schema()
        if self.examples:
            schema = {"examples": list(self.examples), **schema}
        if self.default is not None:
            schema["default"] = self.default
        return {
            "name": self.name,
            "in": self.place,
            "required": self.is_required and self.default is None,
            "description": self.description,
            "schema": schema,
        }


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    summary: str
    details: str
    answers: Mapping[int, Answer]
    errors: Words
    tag: str = "matches"
    parameters: tuple[Parameter[Any], ...] = ()
    body: Content = field(default_factory=dict)
    body_is_required: bool = True
    needs: Needs = Needs.KEY


class Routes(Protocol):
    """Some operations and their handlers."""

    def routes(self) -> Iterable[tuple[Operation, Handler]]:
        """Return the operations and their handlers."""


def add_routes(app: web.Application, *groups: Routes, prefix: str = "") -> Iterator[Operation]:
    """Add a route for each operation, and yield the operation; `prefix` is the path of `app`."""
    for group in groups:
        for operation, handler in group.routes():
            # A path parameter is any text: an invalid ID is another error than an unknown path.
            path = re.sub(r"{(\w+)}", r"{\1:[^/]+}", operation.path)
            methods = ("GET", "HEAD") if operation.method == "GET" else (operation.method,)
            for method in methods:
                app.router.add_route(method, path.removeprefix(prefix), handler)
            yield operation


def words(*errors: type[RequestError] | Words) -> Words:
    """Return the error words of rows of the error table, and of others, by status."""
    found: dict[int, tuple[str, ...]] = {}
    for one in errors:
        rows = one if isinstance(one, Mapping) else {TABLE[one][0]: (TABLE[one][1],)}
        for status, more in rows.items():
            found[status] = tuple(dict.fromkeys((*found.get(status, ()), *more)))
    return found
