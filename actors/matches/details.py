"""One match answer as a value: its verdict, what a replay needs, and the whole as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Self

REPLAY_AVAILABLE: Final = "REPLAY_AVAILABLE"
OLD_FORMAT: Final = "DOTA_GAMEMODE_NONE"  # with a salt of 0, as odota/core reads it
DEFAULT_RESULT: Final = 2  # what EResult means where a field of it is absent: Fail


@dataclass(frozen=True, slots=True)
class MatchDetails:
    """An answer of the GC. `fields` is the whole of it in protobuf's JSON mapping."""

    result: int
    match_id: int | None
    cluster: int
    replay_salt: int
    replay_state: str | int  # a number where the schema has no name for it
    ended_at: int | None  # UTC seconds
    is_old_format: bool  # from before there were replays in today's form
    fields: dict[str, Any] = field(repr=False)

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Self:
        """Read the facts out of a decoded CMsgGCMatchDetailsResponse."""
        match = fields.get("match", {})
        return cls(
            result=fields.get("result", DEFAULT_RESULT),
            match_id=int(match["match_id"]) if "match_id" in match else None,
            cluster=match.get("cluster", 0),
            replay_salt=match.get("replay_salt", 0),
            # The schema's own default; a match that says nothing about its replay has one.
            replay_state=match.get("replay_state", REPLAY_AVAILABLE),
            ended_at=_ended_at(match),
            is_old_format=_is_old_format(match),
            fields=fields,
        )


def _is_old_format(match: dict[str, Any]) -> bool:
    """Return whether the match is of the format without replays, as odota/core's retriever reads it.

    An absent game mode is the schema's default, which is the old format's; an absent match is no match.
    """
    is_none = match.get("game_mode", OLD_FORMAT) == OLD_FORMAT
    return bool(match) and is_none and not match.get("replay_salt")


def _ended_at(match: dict[str, Any]) -> int | None:
    """Return when the match was over, or None where the GC did not say when it began.

    The duration begins with the horn, which sounds after the time before the game.
    """
    if not (begun := match.get("starttime", 0)):
        return None
    return int(begun + match.get("pre_game_duration", 0) + match.get("duration", 0))
