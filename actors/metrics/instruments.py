"""Counters, gauges and histograms, and how they are written out.

The one file that imports prometheus_client. The registry is ours alone: what another library registers in
the global one does not get out.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

__all__ = ["Counter", "Format", "Gauge", "Histogram", "Instruments"]

OPENMETRICS_VERSION: Final = "1.0.0"

# When each series began: as many lines again, and nobody draws them.
disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations


class Format(enum.StrEnum):
    """How metrics may be written; the values are media types."""

    TEXT = "text/plain"
    OPENMETRICS = "application/openmetrics-text"

    @property
    def content_type(self) -> str:
        """What HTTP calls it, with its version."""
        if self is Format.TEXT:
            return CONTENT_TYPE_PLAIN_0_0_4
        return f"{self.value}; version={OPENMETRICS_VERSION}; charset=utf-8"


@dataclass(frozen=True, slots=True)
class _CountedElsewhere(Collector):
    """A counter that somebody else keeps; read at each scrape."""

    name: str
    text: str
    label: str
    read: Callable[[], Mapping[str, int]]

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self.name, self.text, labels=(self.label,))
        for value, count in sorted(self.read().items()):
            family.add_metric((value,), count)
        yield family


class Instruments:
    """Makes instruments and writes out what they show. Names are whole, to be searched for."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        for about_the_process in (ProcessCollector, PlatformCollector, GCCollector):
            about_the_process(registry=self._registry)

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """Make a counter; `name` ends in `_total`."""
        return Counter(name, text, labels, registry=self._registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        """Make a gauge."""
        return Gauge(name, text, labels, registry=self._registry)

    def histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        """Make a histogram; `buckets` are upper bounds, ascending."""
        return Histogram(name, text, labels, registry=self._registry, buckets=buckets)

    def facts(self, name: str, text: str, facts: Mapping[str, str]) -> None:
        """Show constants as labels of a gauge that is 1; its name gets an `_info`."""
        Info(name, text, registry=self._registry).info(dict(facts))

    def counted_elsewhere(
        self, name: str, text: str, label: str, read: Callable[[], Mapping[str, int]]
    ) -> None:
        """Show counts, by the values of `label`, that somebody else keeps."""
        self._registry.register(_CountedElsewhere(name, text, label, read))

    def written(self, form: Format) -> bytes:
        """Return all of it as it is now."""
        if form is Format.TEXT:
            return generate_latest(self._registry)
        text: bytes = openmetrics.generate_latest(self._registry, version=OPENMETRICS_VERSION)  # type: ignore[no-untyped-call]
        return text
