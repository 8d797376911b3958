"""Requests by route, status and error word, how long each route takes, and what came of each match.

Labels are the templates of routes (`/matches/{match_id}`), never what a client wrote: there are as many
series as there are routes, whatever is asked for.
"""

from __future__ import annotations

from typing import Final

from actors.http.errors import TABLE
from actors.http.notes import Outcome
from actors.metrics.instruments import Instruments

NO_ROUTE: Final = "(none)"  # not found, or another method
NO_ERROR: Final = ""
# Seconds. From memory it is a tenth of a millisecond, from the GC some hundred; http.deadline is 15.
LATENCIES: Final = (0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)


class MatchMetrics:
    """Matches by what came of them, also those that many are asked for by one request."""

    def __init__(self, instruments: Instruments) -> None:
        self._matches = instruments.counts(
            "botapi_matches_total",
            "Matches that clients were answered, by error word (empty: the match).",
            "error",
        )
        for word in (NO_ERROR, *(word for _, word in TABLE.values())):
            self._matches[(word,)] = 0

    def __call__(self, error: str) -> None:
        """Count one."""
        self._matches[(error,)] += 1


class HttpMetrics:
    """Counts HTTP requests and measures their latency. Called for every request."""

    def __init__(self, instruments: Instruments) -> None:
        self._requests = instruments.counts(
            "botapi_http_requests_total",
            "Requests answered, by route, status and error word.",
            *("route", "status", "error"),
        )
        self._latencies = instruments.latencies(
            "botapi_http_latency_seconds",
            "How long it took until there was an answer, or all of it where it comes in parts.",
            LATENCIES,
            "route",
        )

    def __call__(self, outcome: Outcome) -> None:
        """Note one answer."""
        route = outcome.route or NO_ROUTE
        self._requests[route, outcome.status, outcome.error or NO_ERROR] += 1
        self._latencies.of(route).observe(outcome.took_s)
