"""What the GC says of a match that it does not give out; remembered like one that it gave."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from actors.errors import MatchBlocked, MatchNotFound
from actors.matches.answer import MatchAnswer


class Verdict(enum.StrEnum):
    """Why there is no match."""

    NOT_FOUND = "not-found"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The GC's refusal to give out a match. Times are UTC seconds."""

    match_id: int
    verdict: Verdict
    stored_at: float  # when the GC said so
    fresh_until: float  # until when a cache may answer with it

    def error(self, now: float) -> MatchNotFound | MatchBlocked:
        """Return it as what a client is told.

        A match that does not exist may only be too young: asking again makes sense as soon as the GC
        would be asked again.
        """
        if self.verdict is Verdict.BLOCKED:
            return MatchBlocked("Valve does not give out this match")
        retry_after = max(0.0, self.fresh_until - now)
        return MatchNotFound("there is no such match, or it is not available yet", retry_after)


Known = MatchAnswer | Refusal  # what may be known of a match
