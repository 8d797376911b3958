"""Outcome of a request: what metrics and the request's log line record of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar, overload

from aiohttp import web

from actors.http.auth.clients import Client
from actors.matches.match import Source

ERROR: Final = web.ResponseKey("error", str)  # the error word
SOURCE: Final = web.ResponseKey("source", Source)  # where the data came from
MAX_LOGGED: Final = 200  # characters of a value that a client sent


R = TypeVar("R", bound=web.StreamResponse)


class Outcome(NamedTuple):
    """How one request ended."""

    route: str | None  # the template of the path; None if no route matched
    status: int
    took_s: float
    error: str | None = None  # the error word
    source: Source | None = None


Record = Callable[
    [str, dict[str, Any]], None
]  # writes a log line: level, fields; may keep the fields
Count = Callable[[Outcome], None]


def with_source(response: R, source: Source) -> R:
    """Store the source of the data in the response and return the response."""
    response[SOURCE] = source
    return response


def outcome_of(route: str | None, response: web.StreamResponse, took_s: float) -> Outcome:
    """Return the outcome of a request."""
    return Outcome(route, response.status, took_s, response.get(ERROR), response.get(SOURCE))


def log_fields(
    outcome: Outcome,
    client: Client,
    *,
    method: str,
    path: str,
    match_id: str | None,
    request_id: str,
    address: str,
) -> dict[str, Any]:
    """Return the fields of a request's log line; see `loggable` for texts of the client."""
    fields = {
        "method": method,
        "path": path,
        "match_id": match_id,
        "status": outcome.status,
        "duration_s": round(outcome.took_s, 6),
        "request_id": request_id,
        "address": address,
    }
    # The name of the API key, never the key. Without API keys the name is the address.
    if client.name and client.name != address:
        fields["client"] = client.name
    return fields


@overload
def loggable(text: str) -> str: ...
@overload
def loggable(text: None) -> None: ...
def loggable(text: str | None) -> str | None:
    r"""Return a client's text for a log line: shortened, unprintable characters escaped (ESC: `\x1b`).

    A terminal may show the line.
    """
    if text is None or (text.isascii() and text.isprintable() and len(text) <= MAX_LOGGED):
        return text
    return "".join(one if one.isprintable() else _escaped(one) for one in text[:MAX_LOGGED])


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", errors="backslashreplace").decode()
