"""Request metrics, and the `/metrics` scrape.

Labels are the templates of routes (`/matches/{match_id}`), never text of a client: the number of series
is bounded. A scrape requires no API key, so it must be cheap at any rate: within a second all clients get
the same text.
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Callable, Iterable
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from actors.clock import Clock
from actors.dashboard.history import Traffic
from actors.http.content import best_media_type, compressed
from actors.http.errors import TABLE
from actors.http.openapi.operation import Operation
from actors.http.openapi.operations import GET_METRICS
from actors.http.outcome import Outcome
from actors.http.polled_metrics import PolledMetrics
from actors.metrics import Format, Instruments

NO_ROUTE: Final = "(none)"  # unknown path or method
NO_ERROR: Final = ""
# Seconds. Memory takes 0.1 ms, the GC some hundred ms; the default of http.deadline is 15 s.
LATENCIES: Final = (0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)


class MatchMetrics:
    """Counts matches by result, including each match of a bulk request."""

    def __init__(self, instruments: Instruments) -> None:
        self._matches = instruments.counts(
            "botapi_matches_total",
            "Matches answered, by error word (empty: success).",
            "error",
        )
        for word in (NO_ERROR, *(word for _, word in TABLE.values())):
            self._matches[(word,)] = 0

    def __call__(self, error: str) -> None:
        """Count one match; "" is success."""
        self._matches[(error,)] += 1


class HttpMetrics:
    """Counts HTTP requests and measures their latency."""

    def __init__(self, instruments: Instruments) -> None:
        self._requests = instruments.counts(
            "botapi_http_requests_total",
            "Requests answered, by route, status and error word.",
            *("route", "status", "error"),
        )
        self._latencies = instruments.latencies(
            "botapi_http_latency_seconds",
            "Time until the response, or until the end of a streamed response.",
            LATENCIES,
            "route",
        )

    def __call__(self, outcome: Outcome) -> None:
        """Record one response."""
        route = outcome.route or NO_ROUTE
        self._requests[route, outcome.status, outcome.error or NO_ERROR] += 1
        self._latencies.of(route).observe(outcome.took_s)


FIRST_ERROR: Final = 400  # status
# Prefixes of routes whose requests are not use of the service.
HOUSEKEEPING: Final = (
    *("/healthz", "/readyz", "/status", "/metrics", "/docs", "/openapi", "/favicon"),
    *("/admin", "/events", "/page", "/session"),
)


class TrafficCount:
    """Records requests in the traffic statistics. `wall` returns UTC seconds."""

    def __init__(self, traffic: Traffic, *, wall: Callable[[], float]) -> None:
        self._traffic = traffic
        self._wall = wall

    def __call__(self, outcome: Outcome) -> None:
        """Record one response."""
        if is_traffic(outcome.route):
            is_error, source = outcome.status >= FIRST_ERROR, outcome.source
            self._traffic.note(
                self._wall(),
                outcome.took_s,
                error=outcome.error if is_error else None,
                # orjson accepts no enum as a key of JSON.
                source=None if is_error or source is None else source.value,
            )


@functools.lru_cache(256)
def is_traffic(route: str | None) -> bool:
    """Return whether a route serves users; None is no route."""
    return route is not None and route != "/" and not route.startswith(HOUSEKEEPING)


REFRESH_S: Final = 1.0
OFFERS: Final = tuple(form.value for form in Format)


class MetricsRoute:
    """Answers scrapes; refreshes and formats the metrics at most once per second."""

    def __init__(self, polled: PolledMetrics, instruments: Instruments, *, clock: Clock) -> None:
        self._polled = polled
        self._instruments = instruments
        self._clock = clock
        self._lock = asyncio.Lock()
        self._refreshed_at = -math.inf
        self._written: dict[Format, bytes] = {}

    def routes(self) -> Iterable[tuple[Operation, Handler]]:
        """Return the operation and its handler."""
        return ((GET_METRICS, self.metrics),)

    async def metrics(self, request: web.Request) -> web.Response:
        """Return all metrics in the preferred format, or as text if the client accepts neither."""
        preferred = best_media_type(request.headers.get(hdrs.ACCEPT, ""), OFFERS)
        form = Format(preferred or Format.TEXT)
        return compressed(
            request,
            await self.written(form),
            {hdrs.CONTENT_TYPE: form.content_type, hdrs.VARY: "Accept, Accept-Encoding"},
        )

    async def written(self, form: Format) -> bytes:
        """Return all metrics in a format."""
        async with self._lock:
            if self._clock.now() - self._refreshed_at >= REFRESH_S:
                await self._polled.refresh()
                self._refreshed_at = self._clock.now()
                self._written.clear()
            if form not in self._written:
                self._written[form] = self._instruments.written(form)
            return self._written[form]
