"""Notes requests in the traffic of the last hour: those that the service is for, not its keepers'."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aiohttp import web

from actors.http.notes import ERROR, SOURCE
from actors.traffic import Traffic

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

    def __call__(self, request: web.Request, answer: web.StreamResponse, took_s: float) -> None:
        """Note one answer."""
        if is_traffic(request):
            source = answer.get(SOURCE)
            self._traffic.note(
                self._wall(),
                took_s,
                error=answer.get(ERROR),
                source=None if source is None else source.value,
            )


def is_traffic(request: web.Request) -> bool:
    """Whether a request is what the service is for."""
    resource = request.match_info.route.resource
    if resource is None or resource.canonical == "/":
        return False
    return not resource.canonical.startswith(HOUSEKEEPING)
