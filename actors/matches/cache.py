"""LRU cache of matches and the cache policy.

There is one per process. The router stores each match; HTTP looks here first, so that a known match does
not pass through the router's mailbox.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from dataclasses import dataclass

from actors.matches.match import Known, MatchAnswer, MatchDetails, Source


@dataclass(frozen=True, slots=True)
class Freshness:
    """The settings of [cache] in config.toml; seconds."""

    ttl_s: float = 604_800.0
    recent_ttl_s: float = 120.0
    negative_ttl_s: float = 300.0
    memory_entries: int = 1000

    def ttl_of(self, details: MatchDetails, now: float) -> float:
        """Return how long `details` may be cached, in seconds; `now` in UTC seconds."""
        is_recent = details.replay.upload_left_s(now) > 0
        return min(self.recent_ttl_s, self.ttl_s) if is_recent else self.ttl_s


class MatchCache:
    """LRU cache of matches. Times are arguments, in UTC seconds. A match takes about 35 KB."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._known: OrderedDict[int, Known] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, match_id: int, now: float) -> Known | None:
        """Return the entry of a match if it is fresh."""
        known = self._known.get(match_id)
        if known is None:
            return None
        if known.fresh_until <= now:
            del self._known[match_id]
            return None
        self._known.move_to_end(match_id)
        return known

    def put(self, known: Known) -> None:
        """Store an entry; its source becomes MEMORY."""
        if isinstance(known, MatchAnswer):
            known = dataclasses.replace(known, source=Source.MEMORY, steam_id=None, ip=None)
        self._known[known.match_id] = known
        self._known.move_to_end(known.match_id)
        self._shrink()

    def reconfigure(self, entries: int) -> None:
        """Change the number of entries."""
        self._entries = entries
        self._shrink()

    def _shrink(self) -> None:
        while len(self._known) > self._entries:
            self._known.popitem(last=False)
