"""How old an answer is and how long it stays good, as headers for caches and for people.

`max-age` is the whole time for which an answer is good and `Age` how much of it has passed already, as
HTTP has it (RFC 9111, sections 4.2.1 and 5.1): a cache that takes one from the other knows what is left.
"""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs, web
from multidict import CIMultiDict

from actors.http.admission import shows_credential
from actors.matches.answer import MatchAnswer, Source

X_CACHE: Final = "X-Cache"
HIT: Final = "HIT"  # the match was known, to this process or to the fleet
MISS: Final = "MISS"  # the Game Coordinator was asked for it


def add_freshness(
    headers: CIMultiDict[str], request: web.Request, answer: MatchAnswer, now: float
) -> None:
    """Add the headers for `answer` to `request`; `now` in UTC seconds."""
    control = cache_control(answer, shows_credential=shows_credential(request))
    headers[hdrs.CACHE_CONTROL] = control
    headers[hdrs.AGE] = str(age_s(answer, now))
    headers[X_CACHE] = MISS if answer.source is Source.GC else HIT


def cache_control(answer: MatchAnswer, *, shows_credential: bool) -> str:
    """Return who may keep `answer`, and for how long."""
    lifetime = max(0, int(answer.fresh_until - answer.stored_at))
    return f"{'private' if shows_credential else 'public'}, max-age={lifetime}"


def age_s(answer: MatchAnswer, now: float) -> int:
    """Return how long ago the Game Coordinator said so, in whole seconds."""
    return max(0, int(now - answer.stored_at))
