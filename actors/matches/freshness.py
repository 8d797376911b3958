"""For how long an answer may be used again: the operator's numbers, and which of them applies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from actors.matches.details import MatchDetails

# A replay is uploaded within some minutes after the end, and until then the GC may still change its mind
# about it. It gives a URL from the start, which answers 404 meanwhile: only the time tells.
RECENT_S: Final = 600.0
CLOCKS_DIFFER_S: Final = 86_400.0  # Valve's and ours, at most; a later end is no end


@dataclass(frozen=True, slots=True)
class Freshness:
    """The numbers of config.toml's [cache]; seconds."""

    ttl_s: float = 604_800.0
    recent_ttl_s: float = 120.0
    negative_ttl_s: float = 300.0
    memory_entries: int = 1000

    def ttl_of(self, details: MatchDetails, now: float) -> float:
        """Return for how long `details` may be used; `now` in UTC seconds."""
        ended_at = details.ended_at
        is_recent = ended_at is not None and has_just_ended(ended_at, now)
        return min(self.recent_ttl_s, self.ttl_s) if is_recent else self.ttl_s


def has_just_ended(ended_at: float, now: float) -> bool:
    """Return whether a match ended less than `RECENT_S` ago (UTC seconds), by clocks that differ."""
    return -CLOCKS_DIFFER_S < now - ended_at < RECENT_S
