"""One match as the service returns it: MatchDetails, MatchAnswer, NoMatch, replay URL.

A MatchAnswer holds every representation as bytes, so no component encodes or compresses it again.
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
DEFAULT_RESULT: Final = 2  # EResult of an answer without `result`: Fail
GZIP_LEVEL: Final = 1  # most of the gain for a third of level 6's time
DOMAIN: Final = "valve.net"
# Perfect World's clusters keep their replays in China (odota/core).
DOMAIN_OF_CLUSTER: Final[Mapping[int, str]] = dict.fromkeys((413, 415, 417), "dota2.com.cn")


@dataclass(frozen=True, slots=True)
class MatchDetails:
    """An answer of the GC. `fields`: the whole answer in protobuf's JSON mapping."""

    result: int
    match_id: int | None
    cluster: int
    replay_salt: int
    replay_state: str | int  # a number where the schema has no name
    ended_at: int | None  # UTC seconds
    is_old_format: bool  # from before replays had today's form
    fields: dict[str, Any] = field(repr=False)

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Self:
        """Make one of a decoded CMsgGCMatchDetailsResponse."""
        match = fields.get("match", {})
        return cls(
            result=fields.get("result", DEFAULT_RESULT),
            match_id=int(match["match_id"]) if "match_id" in match else None,
            cluster=match.get("cluster", 0),
            replay_salt=match.get("replay_salt", 0),
            # The schema's default: a match without a replay state has a replay.
            replay_state=match.get("replay_state", REPLAY_AVAILABLE),
            ended_at=_ended_at(match),
            is_old_format=_is_old_format(match),
            fields=fields,
        )


def _is_old_format(match: dict[str, Any]) -> bool:
    """Return whether a match has the format without replays, as odota/core's retriever decides.

    An absent game mode is the schema's default, which is that of the old format.
    """
    is_none = match.get("game_mode", OLD_FORMAT) == OLD_FORMAT
    return bool(match) and is_none and not match.get("replay_salt")


def _ended_at(match: dict[str, Any]) -> int | None:
    """Return the end of the match in UTC seconds, or None without a start time.

    The duration counts from the horn, which sounds after the pre-game time.
    """
    if not (begun := match.get("starttime", 0)):
        return None
    return int(begun + match.get("pre_game_duration", 0) + match.get("duration", 0))


def replay_url(match_id: int, details: MatchDetails) -> str | None:
    """Return the URL of the replay file, or None where there is none.

    None: not recorded, expired (maybe with a dummy salt), an old-format match without a salt, or no
    cluster. The URL of a replay that is not uploaded yet answers 404.
    """
    if details.replay_state != REPLAY_AVAILABLE or not details.replay_salt or not details.cluster:
        return None
    domain = DOMAIN_OF_CLUSTER.get(details.cluster, DOMAIN)
    return f"http://replay{details.cluster}.{domain}/570/{match_id}_{details.replay_salt}.dem.bz2"


def on_mirror(url: str, mirror: str) -> str:
    """Return the URL of the file on another server; `mirror`: its base URL."""
    return mirror.rstrip("/") + urlsplit(url).path


def is_valves(url: str) -> bool:
    """Return whether a URL is one of Valve's (or Perfect World's) replay servers."""
    host = urlsplit(url).hostname or ""
    return host.endswith((f".{DOMAIN}", *(f".{domain}" for domain in DOMAIN_OF_CLUSTER.values())))


def to_json(match_id: int, details: MatchDetails) -> bytes:
    """Return the API's JSON: `id`, `replay_url`, then the GC's answer."""
    answer: dict[str, Any] = {
        "id": match_id,
        "replay_url": replay_url(match_id, details),
        **details.fields,
    }
    return orjson.dumps(answer)


def gzipped(body: bytes) -> bytes:
    """Return `body` in the content coding gzip."""
    packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return packer.compress(body) + packer.flush()


def etag_of(body: bytes) -> str:
    """Return an entity tag of `body`, without quotes."""
    return hashlib.blake2b(body, digest_size=12).hexdigest()


class Source(enum.StrEnum):
    """Origin of an answer."""

    GC = "gc"  # fetched for this request
    MEMORY = "memory"  # cache of this process
    REDIS = "redis"  # cache of all instances


@dataclass(frozen=True, slots=True)
class ReplayFacts:
    """Facts that decide whether and where there is a replay."""

    state: str | int  # the schema's name, or a number where it has none
    cluster: int
    salt: int
    url: str | None
    ended_at: int | None = None  # UTC seconds; the file is up some minutes later
    is_old_format: bool = False  # from before replays had today's form


@dataclass(frozen=True, slots=True)
class MatchAnswer:
    """One match. Times are UTC seconds."""

    match_id: int
    json: bytes = field(repr=False)
    gzip: bytes = field(repr=False)  # of `json`
    protobuf: bytes = field(repr=False)  # CMsgGCMatchDetailsResponse, exactly as the GC sent it
    etag: str  # of `json`, without quotes
    replay: ReplayFacts
    stored_at: float  # when the GC answered
    fresh_until: float  # a cache may use it until then
    source: Source = Source.GC
    steam_id: int | None = None  # of the account that was used; None for a cached match
    ip: str | None = None  # egress IP of that account


def answer_of(
    match_id: int, body: bytes, details: MatchDetails, *, now: float, ttl_s: float
) -> MatchAnswer:
    """Make an answer of the GC's `body` and its decoded form; `now` in UTC seconds."""
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
    """Reason for the GC's refusal."""

    NOT_FOUND = "not-found"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class NoMatch:
    """The GC's refusal to give out a match. Times are UTC seconds."""

    match_id: int
    verdict: NoMatchReason
    stored_at: float  # when the GC answered
    fresh_until: float  # a cache may use it until then

    def error(self, now: float) -> MatchNotFound | MatchBlocked:
        """Return the error for a client.

        A match that is not found may be too recent: a retry makes sense when the entry is not fresh.
        """
        if self.verdict is NoMatchReason.BLOCKED:
            return MatchBlocked("Valve does not give out this match")
        retry_after = max(0.0, self.fresh_until - now)
        return MatchNotFound("there is no such match, or it is not available yet", retry_after)


Known = MatchAnswer | NoMatch  # an entry of a cache
