"""What is recorded of a request: metrics and fields of the log line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from aiohttp import web

from actors.http.auth.clients import Client
from actors.matches.match import Source

ERROR: Final = web.ResponseKey("error", str)  # the error word
SOURCE: Final = web.ResponseKey("source", Source)  # where the data came from


class Outcome(NamedTuple):
    """How one request ended."""

    route: str | None  # the path's template, None where none was found
    status: int
    took_s: float
    error: str | None = None  # the error word
    source: Source | None = None


def noted(answer: web.Response, source: Source) -> web.Response:
    """Return the answer, with where its data came from."""
    answer[SOURCE] = source
    return answer


def outcome_of(route: str | None, answer: web.StreamResponse, took_s: float) -> Outcome:
    """Collect what is noted on an answer."""
    return Outcome(route, answer.status, took_s, answer.get(ERROR), answer.get(SOURCE))


Record = Callable[[str, dict[str, Any]], None]  # level, facts; it may keep them
Count = Callable[[Outcome], None]

LONGEST_LOGGED: Final = 200  # characters of what a client wrote


def request_facts(
    *,
    method: str,
    path: str,
    match_id: str | None,
    outcome: Outcome,
    request_id: str,
    address: str,
    client: Client,
) -> dict[str, Any]:
    """Return what is said of one request."""
    facts = {
        "method": method,
        "path": short(path),
        "match_id": short(match_id),
        "status": outcome.status,
        "duration_s": round(outcome.took_s, 6),
        "request_id": request_id,
        "address": address,
    }
    # The name of a key, never the key; where there are no keys, it is the address again.
    if client.name and client.name != address:
        facts["client"] = client.name
    return facts


def short(text: str | None) -> str | None:
    r"""Return what a client wrote so that it can stand in a log line, whatever its bytes were.

    What is not printable is escaped: ESC is `\x1b`. Such a line may end up on a terminal.
    """
    if text is None or (text.isascii() and text.isprintable() and len(text) <= LONGEST_LOGGED):
        return text
    return "".join(one if one.isprintable() else _escaped(one) for one in text[:LONGEST_LOGGED])


def _escaped(one: str) -> str:
    return one.encode("unicode_escape", errors="backslashreplace").decode()
