"""Metrics registry: counters, gauges, histograms and their text formats.

Metrics that a library registers in prometheus_client's global registry are not exported.
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, ParamSpec

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
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from structlog.typing import FilteringBoundLogger

__all__ = ["Counter", "Format", "Gauge", "Histogram", "Instruments", "Latencies", "Latency"]

P = ParamSpec("P")
Counts = Mapping[tuple[object, ...], int]  # by label values
OPENMETRICS_VERSION: Final = "1.0.0"

# The creation times of series would double the output.
disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations


class Format(enum.StrEnum):
    """Text formats; the values are media types."""

    TEXT = "text/plain"
    OPENMETRICS = "application/openmetrics-text"

    @property
    def content_type(self) -> str:
        """The value of the header Content-Type."""
        if self is Format.TEXT:
            return CONTENT_TYPE_PLAIN_0_0_4
        return f"{self.value}; version={OPENMETRICS_VERSION}; charset=utf-8"


@dataclass(frozen=True, slots=True)
class _Counts(Collector):
    """A counter whose values are read from a mapping at each scrape."""

    name: str
    text: str
    labels: tuple[str, ...]
    read: Callable[[], Counts]

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self.name, self.text, labels=self.labels)
        for values, count in list(self.read().items()):
            family.add_metric([str(value) for value in values], count)
        yield family


class Latency:
    """One series of a histogram, without a lock: for the loop's thread only."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Record one duration."""
        self.counts[bisect_left(self._bounds, seconds)] += 1
        self.sum += seconds


class Latencies(Collector):
    """A histogram with one label, made of `Latency` series."""

    def __init__(self, name: str, text: str, bounds: Sequence[float], label: str) -> None:
        self._name, self._text, self._bounds, self._label = name, text, bounds, label
        self._series: dict[str, Latency] = {}

    def of(self, value: str) -> Latency:
        """Return the series with that label."""
        if value not in self._series:
            self._series[value] = Latency(self._bounds)
        return self._series[value]

    def collect(self) -> Iterator[Metric]:
        """Yield the histogram."""
        family = HistogramMetricFamily(self._name, self._text, labels=(self._label,))
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        for value, series in self._series.items():
            buckets = list(zip(names, accumulate(series.counts), strict=True))
            family.add_metric([value], buckets, series.sum)
        yield family


class Instruments:
    """Makes instruments and exports their values. Names are complete, so that a search finds them."""

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
        """Export constants as labels of a gauge that is 1; `_info` is appended to its name."""
        Info(name, text, registry=self._registry).info(dict(facts))

    def counts(self, name: str, text: str, *labels: str) -> defaultdict[tuple[object, ...], int]:
        """Return a counter as a mapping by label values, for frequent events.

        An increment costs a tenth of that of a Counter, which has a lock. For the loop's thread only.
        """
        kept: defaultdict[tuple[object, ...], int] = defaultdict(int)
        self.counted_elsewhere(name, text, labels, lambda: kept)
        return kept

    def counted_elsewhere(
        self, name: str, text: str, labels: tuple[str, ...], read: Callable[[], Counts]
    ) -> None:
        """Export counts, by label values, that `read` returns."""
        self._registry.register(_Counts(name, text, labels, read))

    def latencies(self, name: str, text: str, bounds: Sequence[float], label: str) -> Latencies:
        """Make a histogram for frequent events; see `counts`."""
        latencies = Latencies(name, text, bounds, label)
        self._registry.register(latencies)
        return latencies

    def written(self, form: Format) -> bytes:
        """Return all metrics in a text format."""
        if form is Format.TEXT:
            return generate_latest(self._registry)
        text: bytes = openmetrics.generate_latest(self._registry, version=OPENMETRICS_VERSION)  # type: ignore[no-untyped-call]
        return text


def contained(
    observe: Callable[P, object], name: str, *, log: FilteringBoundLogger
) -> Callable[P, None]:
    """Return `observe` without its exceptions: an observer must not fail what it observes.

    The first exception is logged as an error with its traceback, the others at debug. `name`: of the
    observer, for the log.
    """
    has_failed = False

    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        nonlocal has_failed
        try:
            observe(*args, **kwargs)
        except Exception as error:
            kind = type(error).__name__
            if has_failed:
                log.debug("observer_failed", observer=name, error_type=kind)
            else:
                has_failed = True
                log.exception("observer_failed", observer=name, error_type=kind)

    return call
