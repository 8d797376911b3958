"""Half of a large fleet is dropped while it serves: no client notices, no request is charged twice."""

from __future__ import annotations

import asyncio
from collections import Counter

import aiohttp
import pytest
import redis

from bench.env import ServiceEnv, service_env

pytestmark = pytest.mark.integration

BOTS = 100
REQUESTS = 300
FIRST_MATCH = 5_100_000_000


async def ask(client: aiohttp.ClientSession, w: ServiceEnv, match_id: int) -> str:
    async with client.get(f"{w.service.url}/match-details?match_id={match_id}") as answer:
        body = await answer.json()
    if answer.status != 200:
        return str(body["error"])
    assert body["id"] == match_id
    assert body["match"]["match_id"] == str(match_id)
    return "data"


def reserved(w: ServiceEnv) -> Counter[str]:
    """Requests counted in Redis, by account."""
    with redis.Redis.from_url(w.redis_url, decode_responses=True) as client:
        front = "botapi:quota:account:"
        keys = list(client.scan_iter(f"{front}*"))
        return Counter({key.removeprefix(front): client.zcard(key) for key in keys})


@pytest.mark.parametrize("mode", ["close", "mid_message"])
async def test_half_of_the_bots_are_dropped_and_every_request_is_served(mode: str) -> None:
    with service_env(BOTS, sandbox_options=("--gc-delay", "400")) as w:
        w.service.wait_ready(BOTS)
        async with aiohttp.ClientSession() as client:
            asking = asyncio.gather(
                *(ask(client, w, FIRST_MATCH + 20 * n) for n in range(REQUESTS))
            )
            await w.sandbox.wait_journal("match_request", REQUESTS // 2)
            assert await w.sandbox.drop(mode, fraction=0.5) == BOTS // 2
            outcomes = Counter(await asking)
        assert outcomes == Counter(data=REQUESTS)
        sent = await w.sandbox.journal("match_request")
        per_account_and_match = Counter((one["account"], one["match_id"]) for one in sent)
        assert max(per_account_and_match.values()) == 1
        counted = reserved(w)
        for account, number in Counter(one["account"] for one in sent).items():
            assert counted[account] >= number
        # Beyond what Steam saw only what was lost on the way to it.
        assert counted.total() <= len(sent) + BOTS // 2 * 5
        w.service.wait_ready(BOTS, within=30)
