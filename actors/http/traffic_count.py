"""Notes requests in the traffic of the last hour: those that the service is for, not its keepers'."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aiohttp import web

from actors.http.notes import ERROR, SOURCE
from actors.traffic import Traffic

FIRST_ERROR: Final = 400
# Routes, by their front, that say nothing about how much the service is used.
HOUSEKEEPING: Final = (
    *("/healthz", "/readyz", "/status", "/metrics", "/docs", "/openapi", "/favicon"),
    *("/admin", "/events", "/page", "/session"),
)


class TrafficCount:
    """See the module. `wall`: UTC seconds."""

    def __init__(self, traffic: Traffic, *, wall: Callable[[], float]) -> None:
        self._traffic = traffic
        self._wall = wall

    def __call__(self, route: str | None, answer: web.StreamResponse, took_s: float) -> None:
        """Note one answer."""
        if is_traffic(route):
            is_error, source = answer.status >= FIRST_ERROR, answer.get(SOURCE)
            self._traffic.note(
                self._wall(),
                took_s,
                error=answer.get(ERROR) if is_error else None,
                # Plain text: as a key of JSON orjson takes no enum.
                source=None if is_error or source is None else source.value,
            )


def is_traffic(route: str | None) -> bool:
    """Whether a route is what the service is for; None is no route at all."""
    return route is not None and route != "/" and not route.startswith(HOUSEKEEPING)
