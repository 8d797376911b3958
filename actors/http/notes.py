"""What is noted of a request for those who count: by its handler on the answer, then as a whole."""

from __future__ import annotations

from typing import Final, NamedTuple

from aiohttp import web

from actors.matches.answer import Source

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
