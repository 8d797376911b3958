"""A tally that a test reads."""

from __future__ import annotations

from collections import Counter

from actors.accounts.models import Scope
from actors.router.circuit_breaker import Step
from actors.router.metrics import Failure, Lookup


class FakeTally:
    """Counts everything under one name each, e.g. ``memory``, ``joined``, ``silent``."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.latencies: list[float] = []

    def looked_up(self, lookup: Lookup) -> None:
        self.counts[lookup] += 1

    def joined(self) -> None:
        self.counts["joined"] += 1

    def took_over(self) -> None:
        self.counts["took_over"] += 1

    def hedged(self) -> None:
        self.counts["hedged"] += 1

    def answered(self, seconds: float) -> None:
        self.latencies.append(seconds)

    def failed(self, failure: Failure) -> None:
        self.counts[failure] += 1

    def refused(self, scope: Scope) -> None:
        self.counts[f"refused_{scope}"] += 1

    def circuit_opened(self, step: Step) -> None:
        self.counts[f"circuit_{step.name.lower()}"] += 1
