"""MatchDetails, MatchAnswer, Refusal: one match as the service returns it.

It holds every representation as bytes: JSON, gzipped JSON, and the protobuf message of the GC. No
component parses or compresses it again.
"""

from __future__ import annotations

import enum
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import urlsplit

import orjson

from actors.errors import MatchBlocked, MatchNotFound

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


DOMAIN: Final = "valve.net"
# Perfect World's clusters keep their replays in China (odota/core).
DOMAIN_OF_CLUSTER: Final[Mapping[int, str]] = dict.fromkeys((413, 415, 417), "dota2.com.cn")


def replay_url(match_id: int, details: MatchDetails) -> str | None:
    """Return the URL of the replay file, or None where there is none.

    None: not recorded or expired (an expired match may carry a dummy salt), an old-format match without
    a salt, or no cluster. A replay that is not uploaded yet has a URL that answers 404 for a while.
    """
    if details.replay_state != REPLAY_AVAILABLE or not details.replay_salt or not details.cluster:
        return None
    domain = DOMAIN_OF_CLUSTER.get(details.cluster, DOMAIN)
    return f"http://replay{details.cluster}.{domain}/570/{match_id}_{details.replay_salt}.dem.bz2"


def on_mirror(url: str, mirror: str) -> str:
    """Return the URL of the same file on another server; `mirror` is its base URL."""
    return mirror.rstrip("/") + urlsplit(url).path


def is_valves(url: str) -> bool:
    """Return whether a URL leads to Valve's (or Perfect World's) replay servers."""
    host = urlsplit(url).hostname or ""
    return host.endswith((f".{DOMAIN}", *(f".{domain}" for domain in DOMAIN_OF_CLUSTER.values())))


def to_json(match_id: int, details: MatchDetails) -> bytes:
    """Return the API's answer: the GC's response with `id` and `replay_url` in front."""
    answer: dict[str, Any] = {
        "id": match_id,
        "replay_url": replay_url(match_id, details),
        **details.fields,
    }
    return orjson.dumps(answer)


GZIP_LEVEL: Final = 1  # most of the gain for a third of level 6's time


def gzipped(body: bytes) -> bytes:
    """Return `body` in the content coding gzip."""
    packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return packer.compress(body) + packer.flush()


def etag_of(body: bytes) -> str:
    """Return an entity tag of `body`, without quotes."""
    return hashlib.blake2b(body, digest_size=12).hexdigest()


class Source(enum.StrEnum):
    """Where an answer comes from."""

    GC = "gc"  # asked just now
    MEMORY = "memory"  # known to this process
    REDIS = "redis"  # known to the fleet


@dataclass(frozen=True, slots=True)
class ReplayFacts:
    """What decides whether and where there is a replay."""

    state: str | int  # the schema's name, or a number where it has none
    cluster: int
    salt: int
    url: str | None
    ended_at: int | None = None  # UTC seconds; the file is up some minutes later
    is_old_format: bool = False  # from before there were replays in today's form


@dataclass(frozen=True, slots=True)
class MatchAnswer:
    """One match. Times are UTC seconds."""

    match_id: int
    json: bytes = field(repr=False)
    gzip: bytes = field(repr=False)  # of `json`
    protobuf: bytes = field(repr=False)  # CMsgGCMatchDetailsResponse, exactly as the GC sent it
    etag: str  # of `json`, without quotes
    replay: ReplayFacts
    stored_at: float  # when the GC said so
    fresh_until: float  # until when a cache may answer with it
    source: Source = Source.GC
    steam_id: int | None = None  # of the account that asked the GC; None for a known match
    ip: str | None = None  # from which it asked


def answer_of(
    match_id: int, body: bytes, details: MatchDetails, *, now: float, ttl_s: float
) -> MatchAnswer:
    """Make an answer of the GC's `body` and what it decodes to; `now` in UTC seconds."""
    json = to_json(match_id, details)
    return MatchAnswer(
        match_id=match_id,
        json=json,
        gzip=gzipped(json),
        protobuf=body,
        etag=etag_of(json),
        replay=ReplayFacts(
            state=details.replay_state,
            cluster=details.cluster,
            salt=details.replay_salt,
            url=replay_url(match_id, details),
            ended_at=details.ended_at,
            is_old_format=details.is_old_format,
        ),
        stored_at=now,
        fresh_until=now + ttl_s,
    )


class NoMatchReason(enum.StrEnum):
    """Why there is no match."""

    NOT_FOUND = "not-found"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class NoMatch:
    """The GC's refusal to give out a match. Times are UTC seconds."""

    match_id: int
    verdict: NoMatchReason
    stored_at: float  # when the GC said so
    fresh_until: float  # until when a cache may answer with it

    def error(self, now: float) -> MatchNotFound | MatchBlocked:
        """Return it as what a client is told.

        A match that does not exist may only be too young: asking again makes sense as soon as the GC
        would be asked again.
        """
        if self.verdict is NoMatchReason.BLOCKED:
            return MatchBlocked("Valve does not give out this match")
        retry_after = max(0.0, self.fresh_until - now)
        return MatchNotFound("there is no such match, or it is not available yet", retry_after)


Known = MatchAnswer | NoMatch  # what may be known of a match
