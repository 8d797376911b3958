"""A new match needs one call of Redis before a bot is asked: seen in the log of Redis itself."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import aiohttp
import pytest
import redis.asyncio as redis
from support.quick_service import quick_world

pytestmark = pytest.mark.integration

IDS = range(6_000_000_001, 6_000_000_021)
LOOKED_UP_AND_RESERVED, PUBLISHED = 8, 2  # keys of each script
SEEN_S = 10.0


async def test_a_request_is_counted_by_the_call_that_looks_its_match_up() -> None:
    with quick_world(3) as w:
        w.service.wait_ready(3)
        async with redis.Redis.from_url(w.redis_url) as client, client.monitor() as monitor:
            async with aiohttp.ClientSession() as session:
                for match_id in IDS:
                    url = f"{w.service.url}/match-details?match_id={match_id}"
                    async with session.get(url) as answer:
                        assert answer.status == 200
            seen: dict[str, list[int]] = defaultdict(list)
            async with asyncio.timeout(SEEN_S):
                while not len(seen) == len(IDS) == sum(len(keys) == 2 for keys in seen.values()):
                    command = (await monitor.next_command())["command"].split()
                    for word in command:
                        if command[0] == "EVALSHA" and ":flight:" in word:
                            seen[word].append(int(command[2]))
        assert set(map(tuple, seen.values())) == {(LOOKED_UP_AND_RESERVED, PUBLISHED)}
        assert len(await w.sandbox.journal("match_request")) == len(IDS)
