"""Counts client requests in the traffic of the last hour, without those of operators and monitoring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from actors.http.notes import Outcome
from actors.traffic import Traffic

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


def is_traffic(route: str | None) -> bool:
    """Whether a route is what the service is for; None is no route at all."""
    return route is not None and route != "/" and not route.startswith(HOUSEKEEPING)
