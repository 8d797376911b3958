"""`GET /metrics`: the metrics, in the text format of Prometheus or OpenMetrics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from actors.http.accept import best_media_type
from actors.http.json_response import compressed
from actors.http.operation import Operation
from actors.http.operations import GET_METRICS
from actors.metrics.instruments import Format

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
