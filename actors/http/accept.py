"""Content negotiation: which of what we have does the client like best (RFC 9110, section 12.5).

Clients say the same all day, so the last few verdicts are kept.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final

_ANY: Final = "*/*"
_KEPT: Final = 256  # headers of 8 KB at most


@functools.lru_cache(_KEPT)
def accepts_gzip(header: str) -> bool:
    """Whether an Accept-Encoding lists gzip and does not refuse it by ``q=0``."""
    return _weight("gzip", header.lower(), ()) > 0


@functools.lru_cache(_KEPT)
def best_media_type(header: str, offers: tuple[str, ...]) -> str | None:
    """Return the offer that an Accept header likes best, the first of equals, or None."""
    header = header.lower()
    if not header or header == _ANY:
        return offers[0]
    weights = {
        offer: _weight(offer, header, (f"{offer.split('/')[0]}/*", _ANY)) for offer in offers
    }
    best = max(offers, key=weights.__getitem__)
    return best if weights[best] > 0 else None


def _weight(name: str, header: str, wildcards: Sequence[str]) -> float:
    """Return how much `header` likes `name`: what names it counts, else the narrowest wildcard."""
    weights = dict(_items(header))
    for candidate in (name, *wildcards):
        if candidate in weights:
            return weights[candidate]
    return 0.0


def _items(header: str) -> list[tuple[str, float]]:
    """Split into names and weights; a weight that is none counts as 1."""
    items = []
    for item in header.split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        items.append((name, _quality(parameters)))
    return items


def _quality(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return min(1.0, max(0.0, float(parameter[2:])))
            except ValueError:
                return 1.0
    return 1.0
