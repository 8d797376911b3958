"""Matches and fetch locks in Redis.

facts       JSON, for the service and for an operator: `HGET botapi:match:7490235544 facts`
    json        the API's answer, gzipped, as it goes out: `HGET botapi:match:7490235544 json | gunzip`
    protobuf    the GC's bytes, deflated (zlib)

A match that the GC does not give out has facts only; the other two are empty. A fourth field, `landed`,
belongs to the scripts. Entries of another `v` are ignored.

A *claim* is a key with an expiry: the instance that has it asks the GC, the other instances poll Redis
for the result. The owner renews the key; after a crash it expires within `CLAIM_S`.
"""

from __future__ import annotations

import secrets
import zlib
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal

import orjson
from pydantic import TypeAdapter, ValidationError
from redis.asyncio import Redis
from structlog.typing import FilteringBoundLogger

from actors.accounts.models import Refused, Reserved
from actors.accounts.store import Charge
from actors.matches.match import Known, MatchAnswer, NoMatch, NoMatchReason, ReplayFacts, Source
from actors.redis.client import Script, load_scripts

VERSION: Final = 1
LEVEL: Final = 1
GZIP: Final = zlib.MAX_WBITS | 16
LONGEST: Final = 16 * 1024 * 1024  # bytes unpacked; a match has some ten thousand


class CorruptEntry(ValueError):
    """The entry cannot be read."""


@dataclass(frozen=True, slots=True)
class _Facts:
    v: Literal[1]
    id: int
    stored_at: float
    fresh_until: float
    verdict: NoMatchReason | None = None  # exactly when there is no match
    etag: str = ""
    replay: ReplayFacts | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """The packed fields."""

    facts: bytes
    json: bytes = b""
    protobuf: bytes = b""


_FACTS: Final = TypeAdapter(_Facts)


def pack(known: Known) -> Entry:
    """Return the fields to store."""
    common = known.match_id, known.stored_at, known.fresh_until
    if isinstance(known, NoMatch):
        return Entry(orjson.dumps(_Facts(VERSION, *common, verdict=known.verdict)))
    facts = _Facts(VERSION, *common, etag=known.etag, replay=known.replay)
    return Entry(orjson.dumps(facts), known.gzip, zlib.compress(known.protobuf, LEVEL))


def unpack(match_id: int, entry: Entry) -> Known:
    """Return what `entry` says of a match.

    Raises:
        CorruptEntry: it cannot be read, or is about another match.
    """
    try:
        facts = _FACTS.validate_json(entry.facts)
    except ValidationError as error:
        raise CorruptEntry(f"facts: {error.error_count()} errors") from None
    if facts.id != match_id:
        raise CorruptEntry(f"about match {facts.id}")
    if facts.verdict is not None:
        return NoMatch(match_id, facts.verdict, facts.stored_at, facts.fresh_until)
    if facts.replay is None or not facts.etag:
        raise CorruptEntry("facts are missing")
    return MatchAnswer(
        match_id=match_id,
        json=_unpacked(entry.json, GZIP),
        gzip=entry.json,
        protobuf=_unpacked(entry.protobuf, zlib.MAX_WBITS),
        etag=facts.etag,
        replay=facts.replay,
        stored_at=facts.stored_at,
        fresh_until=facts.fresh_until,
        source=Source.REDIS,
    )


def _unpacked(packed: bytes, bits: int) -> bytes:
    """Undo the compression; its checksum says whether that worked."""
    unpacker = zlib.decompressobj(bits)
    try:
        text = unpacker.decompress(packed, LONGEST)
    except zlib.error as error:
        raise CorruptEntry(str(error)) from None
    if not unpacker.eof or unpacker.unused_data:
        raise CorruptEntry("cut off, or too long")
    return text


CLAIM_S: Final = 3.0
RENEW_EVERY_S: Final = 1.0  # so that two renewals may get lost

ANYTHING: Final = 0  # see `lookup`
NEWS: Final = -1


@dataclass(frozen=True, slots=True)
class Claim:
    """The right of one instance to fetch a match. The unique token proves that it was granted."""

    match_id: int
    token: str = field(default_factory=partial(secrets.token_hex, 12))


@dataclass(frozen=True, slots=True)
class Locked:
    """Another fetch has the claim; look again soon for a result that is published after `after`."""

    after: int


class MatchStore:
    """Matches and claims in Redis. One per process. All methods raise StoreUnavailable, StoreMisused."""

    def __init__(self, redis: Redis, *, prefix: str, log: FilteringBoundLogger) -> None:
        """`redis`: one that answers with bytes."""
        self._redis = redis
        self._match = f"{prefix}:match:"
        self._claim = f"{prefix}:flight:"
        self._log = log.bind(actor="matches")
        self._scripts = load_scripts(redis, __package__)
        self._lookup_and_reserve = Script(
            redis, __package__, "lookup", then=("actors.accounts", "reserve")
        )

    async def lookup(
        self, claim: Claim, *, after: int = ANYTHING, charge: Charge | None = None
    ) -> Known | Locked | Claim | Reserved | Refused:
        """Return what is known of a match; if nothing is, grant the claim and count a request for it.

        All in one call. A caller that gets no answer (it is cancelled, or Redis is unreachable) may still
        have the claim: call `release`.

        Args:
            claim: a new one, or one that is granted already.
            after: only what was published after that will do: ANYTHING, NEWS, or what `Locked` says.
            charge: the request to count as soon as the claim is granted.

        Returns:
            Known or Locked: the claim is not granted, and nothing is counted.
            Claim: it is granted, and there is no charge.
            Reserved or Refused: it is granted, and what came of the charge.
        """
        charged, args = ([], []) if charge is None else (list(charge.keys), list(charge.args))
        script = self._scripts["lookup"] if charge is None else self._lookup_and_reserve
        keys = [*charged, *self._keys(claim.match_id)]
        while True:
            answer = await script.run(keys, [*args, claim.token, int(CLAIM_S * 1000), after])
            match answer[0]:
                case b"yours":
                    return claim
                case b"theirs":
                    return Locked(answer[1])
                case b"known":
                    _, published, *fields = answer
                case _ if charge is not None:
                    return charge.outcome(answer)
            try:
                return unpack(claim.match_id, Entry(*(field or b"" for field in fields)))
            except CorruptEntry as error:
                self._log.warning("match_entry_corrupt", match_id=claim.match_id, reason=str(error))
                after = published

    async def publish(self, claim: Claim, known: Known, *, ttl_s: float) -> None:
        """Store what is known of a match now, for `ttl_s`, and release the claim."""
        entry = pack(known)
        await self._scripts["publish"].run(
            self._keys(claim.match_id),
            [claim.token, max(1, int(ttl_s * 1000)), entry.facts, entry.json, entry.protobuf],
        )

    async def renew(self, claim: Claim) -> bool:
        """Keep the claim for CLAIM_S from now; return whether it is still ours."""
        key = self._keys(claim.match_id)[1:]
        args = (claim.token, int(CLAIM_S * 1000))
        return bool(await self._scripts["renew_claim"].run(key, args))

    async def release(self, claim: Claim) -> None:
        """Release a claim without a result, if it is ours, so that another instance may fetch."""
        key = self._keys(claim.match_id)[1:]
        await self._scripts["release_claim"].run(key, [claim.token])

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    def _keys(self, match_id: int) -> list[str]:
        return [f"{self._match}{match_id}", f"{self._claim}{match_id}"]
