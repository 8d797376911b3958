"""Metrics of HTTP requests, and the `/metrics` route.

Labels are the templates of routes (`/matches/{match_id}`), never text of a client: the number of series
is bounded. A scrape requires no API key, so it must be cheap at any rate: within a second all clients get
the same text.
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Iterable
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from actors.clock import Clock
from actors.dashboard.history import Traffic
from actors.http.content import best_media_type, compressed
from actors.http.errors import TABLE
from actors.http.openapi.operation import Operation
from actors.http.openapi.operations import GET_METRICS
from actors.http.polled_metrics import PolledMetrics
from actors.matches.match import Source
from actors.metrics import Format, Instruments

NO_ROUTE: Final = "(none)"  # unknown path or method
NO_ERROR: Final = ""
FIRST_ERROR: Final = 400  # status
# Seconds. Memory takes 0.1 ms, the GC some hundred ms; the default of http.deadline is 15 s.
LATENCIES: Final = (0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
# Prefixes of routes whose requests are not use of the service.
HOUSEKEEPING: Final = (
    *("/healthz", "/readyz", "/status", "/metrics", "/docs", "/openapi", "/favicon"),
    *("/admin", "/events", "/page", "/session"),
)


class MatchMetrics:
    """Counts matches by result, including each match of a bulk request."""

    def __init__(self, instruments: Instruments) -> None:
        self._matches = instruments.counts(
            "botapi_matches_total", "Matches answered, by error word (empty: success).", "error"
        )
        for word in (NO_ERROR, *(word for _, word in TABLE.values())):
            self._matches[(word,)] = 0

    def answered(self, error: str = NO_ERROR) -> None:
        """Count one match by its error word."""
        self._matches[(error,)] += 1


class HttpMetrics:
    """Counts HTTP requests and measures their latency, for /metrics and for the page."""

    def __init__(self, instruments: Instruments, clock: Clock) -> None:
        self.traffic = Traffic()
        self._clock = clock
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

    def observe(
        self,
        route: str | None,
        status: int,
        took_s: float,
        error: str | None = None,
        source: Source | None = None,
    ) -> None:
        """Record one response. `route`: the template of the path; None if no route matched."""
        self._requests[route or NO_ROUTE, status, error or NO_ERROR] += 1
        self._latencies.of(route or NO_ROUTE).observe(took_s)
        if is_traffic(route):
            is_error = status >= FIRST_ERROR
            self.traffic.note(
                self._clock.wall(),
                took_s,
                error=error if is_error else None,
                # orjson accepts no enum as a key of JSON.
                source=None if is_error or source is None else str(source),
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
