"""The matches that all containers know, and their flights, on a real Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import structlog
from redis.asyncio import Redis
from structlog.testing import capture_logs
from support.valkey import prefix, redis, valkey_url  # noqa: F401 - fixtures

from actors.accounts.models import Refused, Reserved
from actors.errors import StoreUnavailable
from actors.matches.match import Known, MatchAnswer, NoMatch, NoMatchReason, Source, answer_of
from actors.matches.protobuf.decoder import MatchDecoder
from actors.matches.store import ANYTHING, CLAIM_S, NEWS, Claim, Locked, MatchStore
from actors.redis.client import connect
from sandbox.gc.matches.schema import encode_response

pytestmark = pytest.mark.integration

NOW = 1_700_000_000.0
DECODER = MatchDecoder()


def answer(match_id: int = 7, cluster: int = 153) -> MatchAnswer:
    facts = {"match_id": str(match_id), "cluster": cluster, "replay_salt": 447}
    body = encode_response({"result": 1, "match": facts})
    return answer_of(match_id, body, DECODER.decode(body), now=NOW, ttl_s=100.0)


class Containers:
    """Opens one container's store after another, all on the same keys."""

    def __init__(self, url: str, prefix: str, redis: Redis) -> None:  # noqa: F811 - as below
        self.redis = redis
        self.match, self.flight = f"{prefix}:match:7", f"{prefix}:flight:7"
        self._url, self._prefix = url, prefix
        self._opened: list[MatchStore] = []

    def open(self) -> MatchStore:
        store = MatchStore(
            connect(self._url, raw=True), prefix=self._prefix, log=structlog.get_logger()
        )
        self._opened.append(store)
        return store

    async def close(self) -> None:
        for store in self._opened:
            await store.close()


@pytest.fixture
async def containers(
    valkey_url: str,  # noqa: F811 - fixtures have this name
    prefix: str,  # noqa: F811 - as above
    redis: Redis,  # noqa: F811 - as above
) -> AsyncIterator[Containers]:
    opened = Containers(valkey_url, prefix, redis)
    yield opened
    await opened.close()


async def look(store: MatchStore, match_id: int, after: int = ANYTHING) -> Known | Claim | Locked:
    found = await store.lookup(Claim(match_id), after=after)
    assert not isinstance(found, Reserved | Refused)
    return found


async def claimed(store: MatchStore, match_id: int = 7) -> Claim:
    claim = await store.lookup(Claim(match_id))
    assert isinstance(claim, Claim)
    return claim


async def test_what_one_container_brought_the_others_know(containers: Containers) -> None:
    one, other = containers.open(), containers.open()
    claim = await claimed(one)
    await one.publish(claim, answer(), ttl_s=100.0)
    found = await look(other, 7)
    assert isinstance(found, MatchAnswer)
    assert (found.json, found.protobuf) == (answer().json, answer().protobuf)
    assert (found.etag, found.replay, found.source) == (
        answer().etag,
        answer().replay,
        Source.REDIS,
    )


async def test_a_refusal_is_known_too(containers: Containers) -> None:
    one, other = containers.open(), containers.open()
    said = NoMatch(7, NoMatchReason.BLOCKED, NOW, NOW + 5)
    await one.publish(await claimed(one), said, ttl_s=5.0)
    assert await look(other, 7) == said


async def test_of_many_who_look_at_once_one_gets_the_flight(containers: Containers) -> None:
    stores = [containers.open() for _ in range(5)]
    found = await asyncio.gather(*(look(store, 7) for store in stores for _ in range(4)))
    assert sum(isinstance(one, Claim) for one in found) == 1
    assert sum(isinstance(one, Locked) for one in found) == 19
    assert isinstance(await look(stores[0], 8), Claim)


async def test_a_flight_that_brought_nothing_may_be_taken_at_once(containers: Containers) -> None:
    one, other = containers.open(), containers.open()
    await one.release(await claimed(one))
    await claimed(other)


async def test_a_flight_ends_with_its_process_and_lasts_while_it_is_held(
    containers: Containers,
) -> None:
    one, other = containers.open(), containers.open()
    claim = await claimed(one)
    flight = containers.flight
    assert 0 < await containers.redis.pttl(flight) <= CLAIM_S * 1000
    await containers.redis.pexpire(flight, 500)
    assert await one.renew(claim)
    assert await containers.redis.pttl(flight) > 500
    await containers.redis.delete(flight)  # as it is when no instance renews it for so long
    await claimed(other)
    assert not await one.renew(claim)
    await one.release(claim)  # and it takes nothing from its heir
    assert isinstance(await look(one, 7), Locked)


async def test_a_late_landing_does_not_end_the_flight_of_another(containers: Containers) -> None:
    one, other = containers.open(), containers.open()
    late = await claimed(one)
    await containers.redis.delete(containers.flight)
    await claimed(other)
    await one.publish(late, answer(), ttl_s=100.0)
    assert await containers.redis.exists(containers.flight)
    assert isinstance(await look(other, 7), MatchAnswer)


async def test_it_is_forgotten_after_its_time(containers: Containers) -> None:
    one = containers.open()
    await one.publish(await claimed(one), answer(), ttl_s=50.0)
    assert 49_000 < await containers.redis.pttl(containers.match) <= 50_000
    assert not await containers.redis.exists(containers.flight)


async def test_who_wants_news_is_not_content_with_what_is_known(containers: Containers) -> None:
    one, other = containers.open(), containers.open()
    await one.publish(await claimed(one), answer(), ttl_s=100.0)
    claim = await look(one, 7, after=NEWS)
    assert isinstance(claim, Claim)
    taken = await look(other, 7, after=NEWS)
    assert isinstance(taken, Locked)
    assert isinstance(await look(other, 7, after=taken.after), Locked)  # what is known is older
    await one.publish(claim, answer(cluster=111), ttl_s=100.0)
    found = await look(other, 7, after=taken.after)
    assert isinstance(found, MatchAnswer)
    assert found.replay.cluster == 111


@pytest.mark.parametrize("damage", ["facts", "json", "protobuf", "landed", "type"])
async def test_a_garbled_entry_is_a_miss_and_is_replaced(
    containers: Containers, damage: str
) -> None:
    one = containers.open()
    key = containers.match
    await one.publish(await claimed(one), answer(), ttl_s=100.0)
    if damage == "type":
        await containers.redis.set(key, "what is this", keepttl=False)
    else:
        await containers.redis.hset(key, damage, "\udcff rubbish")
    with capture_logs() as logs:
        claim = await claimed(one)
    if damage in {"facts", "json", "protobuf"}:
        assert [log["event"] for log in logs] == ["match_entry_corrupt"]
    await one.publish(claim, answer(), ttl_s=100.0)
    assert isinstance(await look(one, 7), MatchAnswer)


@pytest.mark.parametrize("junk", ["of another type", "for ever"])
async def test_a_corrupt_claim_blocks_no_instance(containers: Containers, junk: str) -> None:
    key, raw = containers.flight, containers.redis
    await (raw.set(key, "x") if junk == "for ever" else raw.rpush(key, "x"))
    one = containers.open()
    claim = await claimed(one)
    assert isinstance(await look(containers.open(), 7), Locked)
    await one.publish(claim, answer(), ttl_s=100.0)
    assert not await containers.redis.exists(key)


async def test_without_redis_it_says_so() -> None:
    store = MatchStore(
        connect("redis://127.0.0.1:1", raw=True), prefix="p", log=structlog.get_logger()
    )
    with pytest.raises(StoreUnavailable):
        await look(store, 7)
    await store.close()
