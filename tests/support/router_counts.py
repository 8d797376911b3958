"""The router's metrics, read by a test."""

from __future__ import annotations

from collections import Counter

from actors.metrics import Instruments
from actors.router.metrics import RouterMetrics


class RouterCounts(RouterMetrics):
    """The real metrics; `counts` has all counters that are not zero under one name each."""

    def __init__(self) -> None:
        self.instruments = Instruments()
        super().__init__(self.instruments)
        self.latencies: list[float] = []
        self.latency.observe = self._observe  # type: ignore[method-assign]

    def _observe(self, amount: float, exemplar: object = None) -> None:
        del exemplar
        self.latencies.append(amount)

    @property
    def counts(self) -> Counter[str]:
        """E.g. ``memory``, ``joined``, ``silent``, ``refused_ip``, ``circuit_pause``."""
        found = {str(lookup): float(count) for (lookup,), count in self.lookups.items()}
        found |= {one.value: _value(counter) for one, counter in self.failures.items()}
        found |= {f"refused_{one}": _value(counter) for one, counter in self.refusals.items()}
        found |= {
            f"circuit_{one.name.lower()}": _value(counter)
            for one, counter in self.circuits_opened.items()
        }
        found |= {
            "joined": _value(self.joined),
            "took_over": _value(self.taken_over),
            "hedged": _value(self.hedges),
        }
        return Counter({name: int(count) for name, count in found.items() if count})


def _value(counter: object) -> float:
    """Return the value of a counter, which prometheus_client keeps private."""
    return float(vars(counter)["_value"].get())
