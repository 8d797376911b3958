"""Metrics of Redis calls."""

from __future__ import annotations

from typing import Final

from actors.metrics import Counter, Histogram, Instruments
from actors.redis.client import CallObserver

# Seconds. A script takes about 1 ms on the same host, several over a network; the limit is 3 s.
LATENCIES: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0)


class RedisMetrics(CallObserver):
    """Measures the latency of Redis calls and counts their failures."""

    def __init__(self, instruments: Instruments) -> None:
        self._latency = instruments.histogram(
            "botapi_redis_latency_seconds",
            "How long Redis took to answer a script or command, as its caller saw it.",
            LATENCIES,
            "script",
        )
        self._failures = instruments.counter(
            "botapi_redis_failures_total",
            "Scripts and commands that Redis did not answer, or refused.",
            "script",
        )
        self._scripts: dict[str, tuple[Histogram, Counter]] = {}

    def answered(self, script: str, seconds: float) -> None:
        """Record the latency."""
        self._series(script)[0].observe(seconds)

    def refused(self, script: str) -> None:
        """Count a failure."""
        self._series(script)[1].inc()

    def unable(self, script: str, _reason: str) -> None:
        """Count a failure."""
        self.refused(script)

    def failed(self, script: str, _reason: str) -> None:
        """Count a failure."""
        self.refused(script)

    def _series(self, script: str) -> tuple[Histogram, Counter]:
        if script not in self._scripts:
            self._scripts[script] = self._latency.labels(script), self._failures.labels(script)
        return self._scripts[script]
