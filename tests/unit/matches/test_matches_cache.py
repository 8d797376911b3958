"""Cached matches: packed for Redis, held in memory, fresh for a limited time."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping
from types import MappingProxyType

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.matches.cache import Freshness, MatchCache
from actors.matches.match import RECENT_S, MatchAnswer, NoMatch, NoMatchReason, Source, answer_of
from actors.matches.protobuf.decoder import MatchDecoder
from actors.matches.store import CorruptEntry, Entry, pack, unpack
from sandbox.gc.matches.schema import encode_response

NOW = 1_700_000_000.0
DECODER = MatchDecoder()


def body(match_id: int = 7, more: Mapping[str, int] = MappingProxyType({})) -> bytes:
    facts = {"match_id": str(match_id), "cluster": 153, "replay_salt": 447, **more}
    return encode_response({"result": 1, "match": facts})


def answer(match_id: int = 7, ttl_s: float = 100.0) -> MatchAnswer:
    raw = body(match_id)
    return answer_of(match_id, raw, DECODER.decode(raw), now=NOW, ttl_s=ttl_s)


def refusal(verdict: NoMatchReason = NoMatchReason.NOT_FOUND) -> NoMatch:
    return NoMatch(7, verdict, NOW, NOW + 60.0)


# -- entries ---------------------------------------------------------------------------------------


def test_an_answer_comes_out_as_it_went_in() -> None:
    packed = pack(answer())
    assert unpack(7, packed) == dataclasses.replace(answer(), source=Source.REDIS)


@pytest.mark.parametrize("verdict", list(NoMatchReason))
def test_a_refusal_comes_out_as_it_went_in(verdict: NoMatchReason) -> None:
    assert unpack(7, pack(refusal(verdict))) == refusal(verdict)


def test_the_gzipped_json_is_the_one_that_is_returned() -> None:
    brought = answer()
    packed = pack(brought)
    assert packed.json is brought.gzip
    assert zlib.decompress(packed.protobuf) == body()


def test_an_entry_about_another_match_is_garbled() -> None:
    with pytest.raises(CorruptEntry, match="about match 7"):
        unpack(8, pack(answer()))


def changed(**facts: object) -> Entry:
    packed = pack(answer())
    return dataclasses.replace(packed, facts=orjson.dumps(orjson.loads(packed.facts) | facts))


@pytest.mark.parametrize(
    "entry",
    [
        Entry(b""),
        Entry(b"{}"),
        Entry(b"[1]"),
        Entry(b"\xff\x00"),
        changed(v=2),
        changed(id="seven"),
        changed(replay=None),
        changed(replay={"state": 1}),
        changed(etag=""),
        changed(verdict="lost"),
        dataclasses.replace(pack(answer()), json=b""),
        dataclasses.replace(pack(answer()), protobuf=b"x"),
        dataclasses.replace(pack(answer()), json=pack(answer()).json[:-1]),
        dataclasses.replace(pack(answer()), json=pack(answer()).json + b"more"),
    ],
)
def test_what_is_no_entry_of_ours_is_garbled(entry: Entry) -> None:
    with pytest.raises(CorruptEntry):
        unpack(7, entry)


@given(st.binary(max_size=60), st.data())
def test_no_damage_gets_through(junk: bytes, data: st.DataObject) -> None:
    """Whatever happens to the bytes of an entry: either it is still the same, or it is none."""
    packed = pack(answer())
    field = data.draw(st.sampled_from(["json", "protobuf"]))
    whole: bytes = getattr(packed, field)
    at = data.draw(st.integers(0, len(whole)))
    damaged = whole[:at] + junk + whole[at + len(junk) :]
    try:
        found = unpack(7, dataclasses.replace(packed, **{field: damaged}))
    except CorruptEntry:
        return
    assert isinstance(found, MatchAnswer)
    assert (found.json, found.protobuf) == (answer().json, answer().protobuf)


# -- memory ----------------------------------------------------------------------------------------


def test_memory_returns_the_same_bytes_with_its_source() -> None:
    memory = MatchCache(10)
    brought = dataclasses.replace(answer(), steam_id=76561197960265729)
    memory.put(brought)
    found = memory.get(7, NOW)
    assert isinstance(found, MatchAnswer)
    assert found.json is brought.json
    assert (found.source, found.steam_id) == (Source.MEMORY, None)


def test_memory_drops_entries_that_are_not_fresh() -> None:
    memory = MatchCache(10)
    memory.put(answer(ttl_s=100.0))
    assert memory.get(7, NOW + 99.9) is not None
    assert memory.get(7, NOW + 100.0) is None
    assert len(memory) == 0


def test_the_least_recently_used_entry_is_dropped_first() -> None:
    memory = MatchCache(2)
    memory.put(answer(1))
    memory.put(answer(2))
    memory.get(1, NOW)
    memory.put(answer(3))
    assert [memory.get(number, NOW) is not None for number in (1, 2, 3)] == [True, False, True]
    memory.reconfigure(1)
    assert [memory.get(number, NOW) is not None for number in (1, 3)] == [False, True]


def test_a_cache_of_size_0_holds_nothing() -> None:
    memory = MatchCache(0)
    memory.put(answer())
    memory.put(refusal())
    assert memory.get(7, NOW) is None


# -- freshness -------------------------------------------------------------------------------------

NUMBERS = Freshness(ttl_s=1000.0, recent_ttl_s=10.0, negative_ttl_s=5.0)


@pytest.mark.parametrize(
    ("match", "ttl_s"),
    [
        ({}, 1000.0),
        ({"starttime": int(NOW) - 3000, "duration": 2000}, 1000.0),
        ({"starttime": int(NOW) - 3000, "duration": 2999}, 10.0),
        ({"starttime": int(NOW - RECENT_S) - 2000, "duration": 2000}, 1000.0),
        ({"starttime": int(NOW - RECENT_S) - 2000, "duration": 2001}, 10.0),
        ({"starttime": int(NOW) + 60, "duration": 2000}, 10.0),  # by a clock that is ahead
    ],
)
def test_a_match_that_ended_just_now_is_asked_for_again_soon(
    match: dict[str, int], ttl_s: float
) -> None:
    assert NUMBERS.ttl_of(DECODER.decode(body(more=match)), NOW) == ttl_s


def test_what_is_recent_is_kept_no_longer_than_the_rest() -> None:
    details = DECODER.decode(body(more={"starttime": int(NOW)}))
    assert Freshness(ttl_s=5.0, recent_ttl_s=10.0).ttl_of(details, NOW) == 5.0


def test_a_refusal_says_when_the_gc_would_be_asked_again() -> None:
    assert refusal().error(NOW + 20.0).retry_after == 40.0
    assert refusal(NoMatchReason.BLOCKED).error(NOW).retry_after is None
