"""What the service knows of a match's replay. The only place that knows how it says so."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from supervisor.api import ApiRefused
from supervisor.api_client import ApiClient


class Fate(enum.StrEnum):
    """What has become of a replay, as far as the Game Coordinator tells."""

    AVAILABLE = "available"  # or will be in some minutes
    NOT_RECORDED = "not-recorded"
    EXPIRED = "expired"
    OLD_FORMAT = "old-format"


_OLD_MODE: Final = "DOTA_GAMEMODE_NONE"  # with a salt of 0
_FATES: Final[Mapping[str, Fate]] = {
    "REPLAY_NOT_RECORDED": Fate.NOT_RECORDED,
    "REPLAY_EXPIRED": Fate.EXPIRED,
}


@dataclass(frozen=True, slots=True)
class ReplayFacts:
    """One match's replay."""

    match_id: int
    fate: Fate
    url: str | None  # there is one where the fate is AVAILABLE
    ended_at: int | None  # UTC seconds: when the match was over


async def facts_of(api: ApiClient, match_id: int) -> ReplayFacts:
    """Ask the service.

    Raises:
        ApiUnreachable, ApiRefused: as `ApiClient.get`.
    """
    answer = await api.get("/match-details", match_id=match_id)
    match: Mapping[str, Any] = answer.get("match", {})
    url: str | None = answer.get("replay_url")
    fate = _fate_without_url(match) if url is None else Fate.AVAILABLE
    return ReplayFacts(match_id, fate, url, _ended_at(match))


async def mirror_of(api: ApiClient) -> str | None:
    """Return where the service's network has its replays, if not on Valve's servers."""
    try:
        mirror: str | None = (await api.get("/status")).get("replay_mirror")
    except ApiRefused:  # whoever may ask for matches may not see the fleet
        return None
    return mirror


def on_mirror(url: str, mirror: str) -> str:
    """Return the same file on another server."""
    return mirror.rstrip("/") + urlsplit(url).path


def _fate_without_url(match: Mapping[str, Any]) -> Fate:
    if match.get("game_mode") == _OLD_MODE and not match.get("replay_salt"):
        return Fate.OLD_FORMAT
    return _FATES.get(str(match.get("replay_state")), Fate.NOT_RECORDED)


def _ended_at(match: Mapping[str, Any]) -> int | None:
    begun = match.get("starttime")
    if not begun:
        return None
    return int(begun + match.get("pre_game_duration", 0) + match.get("duration", 0))
