"""The match cache of this process: a bounded LRU table.

There is one per process. The router stores each match that it learns of. A caller looks here before it
sends a message to the router, so that a known match does not pass through the router's mailbox.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict

from actors.matches.answer import MatchAnswer, Source
from actors.matches.refusal import Known


class Memory:
    """LRU cache of known matches. Times are arguments, in UTC seconds. An answer takes about 35 KB."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._known: OrderedDict[int, Known] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, match_id: int, now: float) -> Known | None:
        """Return what is known of a match and still fresh."""
        known = self._known.get(match_id)
        if known is None:
            return None
        if known.fresh_until <= now:
            del self._known[match_id]
            return None
        self._known.move_to_end(match_id)
        return known

    def put(self, known: Known) -> None:
        """Remember it as what memory answers with."""
        if isinstance(known, MatchAnswer):
            known = dataclasses.replace(known, source=Source.MEMORY, steam_id=None, ip=None)
        self._known[known.match_id] = known
        self._known.move_to_end(known.match_id)
        self._shrink()

    def change_size(self, entries: int) -> None:
        """Hold that many from now on."""
        self._entries = entries
        self._shrink()

    def _shrink(self) -> None:
        while len(self._known) > self._entries:
            self._known.popitem(last=False)
