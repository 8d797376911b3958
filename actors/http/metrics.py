"""Request counters, and the `/metrics` scrape.

Labels are the templates of routes (`/matches/{match_id}`), never what a client wrote: there are as many
series as there are routes, whatever is asked for.

A scrape requires no API key, so it must be cheap at any rate: within a second all clients get the same
text.
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from actors.clock import Clock
from actors.dashboard.history import Traffic
from actors.http.content import best_media_type, compressed
from actors.http.errors import TABLE
from actors.http.openapi.operation import Operation
from actors.http.openapi.operations import GET_METRICS
from actors.http.outcome import Outcome
from actors.metrics import Format, Instruments

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


SAME_S: Final = 1.0


class Refreshes(Protocol):
    """What is asked for a scrape."""

    async def refresh(self) -> None:
        """Show what there is now. Bounded in time, raises nothing."""


class Scrape:
    """Refreshes and formats the metrics, at most once per second."""

    def __init__(self, survey: Refreshes, instruments: Instruments, *, clock: Clock) -> None:
        self._survey = survey
        self._instruments = instruments
        self._clock = clock
        self._lock = asyncio.Lock()
        self._refreshed_at = -math.inf
        self._written: dict[Format, bytes] = {}

    async def written(self, form: Format) -> bytes:
        """Return all metrics in a form."""
        async with self._lock:
            if self._clock.now() - self._refreshed_at >= SAME_S:
                await self._survey.refresh()
                self._refreshed_at = self._clock.now()
                self._written.clear()
            if form not in self._written:
                self._written[form] = self._instruments.written(form)
            return self._written[form]


FIRST_ERROR: Final = 400
# Routes, by their front, that say nothing about how much the service is used.
HOUSEKEEPING: Final = (
    *("/healthz", "/readyz", "/status", "/metrics", "/docs", "/openapi", "/favicon"),
    *("/admin", "/events", "/page", "/session"),
)


class TrafficCount:
    """Observer of requests. `wall` returns UTC seconds."""

    def __init__(self, traffic: Traffic, *, wall: Callable[[], float]) -> None:
        self._traffic = traffic
        self._wall = wall

    def __call__(self, outcome: Outcome) -> None:
        """Note one answer."""
        if is_traffic(outcome.route):
            is_error, source = outcome.status >= FIRST_ERROR, outcome.source
            self._traffic.note(
                self._wall(),
                outcome.took_s,
                error=outcome.error if is_error else None,
                # Plain text: as a key of JSON orjson takes no enum.
                source=None if is_error or source is None else source.value,
            )


@functools.lru_cache(256)
def is_traffic(route: str | None) -> bool:
    """Return whether a route serves users; None is no route."""
    return route is not None and route != "/" and not route.startswith(HOUSEKEEPING)


OFFERS: Final = tuple(form.value for form in Format)


class Written(Protocol):
    """What the route needs of a scrape."""

    async def written(self, form: Format) -> bytes:
        """Return all metrics in a form."""


class MetricsRoute:
    """Answers scrapes; holds nothing itself."""

    def __init__(self, scrape: Written) -> None:
        self._scrape = scrape

    def routes(self) -> Iterable[tuple[Operation, Handler]]:
        """Return what it does."""
        return ((GET_METRICS, self.metrics),)

    async def metrics(self, request: web.Request) -> web.Response:
        """Everything, in the form that is liked best; in the older one for who likes neither."""
        liked = best_media_type(request.headers.get(hdrs.ACCEPT, ""), OFFERS)
        form = Format(liked or Format.TEXT)
        return compressed(
            request,
            await self._scrape.written(form),
            {hdrs.CONTENT_TYPE: form.content_type, hdrs.VARY: "Accept, Accept-Encoding"},
        )
