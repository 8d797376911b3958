"""Requests by route, status and error word, how long each route takes, and what came of each match.

Labels are the templates of routes (`/matches/{match_id}`), never what a client wrote: there are as many
series as there are routes, whatever is asked for.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from aiohttp import web

from actors.http.errors import TABLE
from actors.http.notes import ERROR
from actors.metrics.instruments import Counter, Histogram, Instruments

NO_ROUTE: Final = "(none)"  # not found, or another method
NO_ERROR: Final = ""
# Seconds. From memory it is a tenth of a millisecond, from the GC some hundred; http.deadline is 15.
LATENCIES: Final = (0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)


class MatchMetrics:
    """Matches by what came of them, also those that many are asked for by one request."""

    def __init__(self, instruments: Instruments) -> None:
        self._matches = instruments.counter(
            "botapi_matches_total",
            "Matches that clients were answered, by error word (empty: the match).",
            "error",
        )
        words = (NO_ERROR, *(word for _, word in TABLE.values()))
        self._series = {word: self._matches.labels(word) for word in words}

    def __call__(self, error: str) -> None:
        """Count one."""
        self._series[error].inc()


class _Series(NamedTuple):
    answers: Counter
    latency: Histogram


class HttpMetrics:
    """See the module. Called for every request: series are looked up in one step."""

    def __init__(self, instruments: Instruments) -> None:
        self._requests = instruments.counter(
            "botapi_http_requests_total",
            "Requests answered, by route, status and error word.",
            *("route", "status", "error"),
        )
        self._latency = instruments.histogram(
            "botapi_http_latency_seconds",
            "How long it took until there was an answer, or all of it where it comes in parts.",
            LATENCIES,
            "route",
        )
        self._series: dict[tuple[str, int, str], _Series] = {}

    def __call__(self, route: str | None, answer: web.StreamResponse, took_s: float) -> None:
        """Note one answer."""
        key = route or NO_ROUTE, answer.status, answer.get(ERROR, NO_ERROR)
        series = self._series.get(key) or self._new_series(*key)
        series.answers.inc()
        series.latency.observe(took_s)

    def _new_series(self, route: str, status: int, error: str) -> _Series:
        series = _Series(self._requests.labels(route, status, error), self._latency.labels(route))
        self._series[route, status, error] = series
        return series
