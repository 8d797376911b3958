"""What a scrape says, as values that a test can ask for; read by the library's own parsers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_count", "_sum"),
    "gauge": ("",),
    "info": ("_info",),
}


class Exposition:
    """One scrape. `types`: of every family, by its name without a suffix."""

    def __init__(self, text: str, *, is_openmetrics: bool = False) -> None:
        read: Any = read_openmetrics if is_openmetrics else read_text
        families = list(read(text))
        self.types: dict[str, str] = {one.name: one.type for one in families}
        self._samples = [sample for one in families for sample in one.samples]

    def __len__(self) -> int:
        return len(self._samples)

    def names(self) -> set[str]:
        """Return what a query may ask for, whether it has values yet or not."""
        return {name + suffix for name, kind in self.types.items() for suffix in SUFFIXES[kind]}

    def families(self) -> set[str]:
        """Return the names as documents have them: with a suffix where there is one only."""
        return {
            name + ("" if len(SUFFIXES[kind]) > 1 else SUFFIXES[kind][0])
            for name, kind in self.types.items()
        }

    def value(self, name: str, **labels: str) -> float:
        """Return the one value with these labels and no others."""
        (found,) = (one.value for one in self._of(name) if one.labels == labels)
        return float(found)

    def values(self, name: str, label: str) -> dict[str, float]:
        """Return the values by one label, where others differ their sum."""
        found: dict[str, float] = {}
        for one in self._of(name):
            found[one.labels[label]] = found.get(one.labels[label], 0.0) + one.value
        return found

    def labels(self, name: str) -> dict[str, set[str]]:
        """Return the labels with the values that they have."""
        found: dict[str, set[str]] = {}
        for one in self._of(name):
            for label, value in one.labels.items():
                found.setdefault(label, set()).add(value)
        return found

    def _of(self, name: str) -> Iterator[Any]:
        return (one for one in self._samples if one.name == name)
