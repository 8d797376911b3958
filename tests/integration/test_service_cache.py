"""The match cache of a whole service, observed in the sandbox's journal and in Redis."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from bench.env import ServiceEnv, service_env
from bench.service_process import Sections

pytestmark = pytest.mark.integration


def ask(w: ServiceEnv, match_id: int) -> tuple[int, bytes]:
    return w.service.get(f"/match-details?match_id={match_id}")


async def asked_for(w: ServiceEnv) -> list[int]:
    return [event["match_id"] for event in await w.sandbox.journal("match_request")]


def raw(w: ServiceEnv) -> redis.Redis:
    return redis.Redis.from_url(w.redis_url)


async def test_a_known_match_outlives_the_process_and_redis_garbage() -> None:
    with service_env(1) as w, raw(w) as client:
        w.service.wait_ready(1)
        first = ask(w, 7)
        assert first[0] == 200
        assert ask(w, 7) == first
        w.service.stop()
        w.service.start()
        w.service.wait_ready(1)
        assert ask(w, 7) == first
        assert await asked_for(w) == [7]

        w.service.stop()
        client.hset("botapi:match:7", "json", b"\xff\x00 what is this")
        w.service.start()
        w.service.wait_ready(1)
        assert ask(w, 7) == first
        assert [event["match_id"] for event in w.service.events("match_entry_corrupt")] == [7]
        assert await asked_for(w) == [7, 7]


async def test_refusals_are_known_for_a_while() -> None:
    with service_env(1, settings={"cache": {"negative_ttl": 1000}}) as w, raw(w) as client:
        w.service.wait_ready(1)
        for _ in range(3):
            assert ask(w, 4000000015)[0] == 403
            status, body = ask(w, 9000000001)
            assert status == 404
            assert 900 < json.loads(body)["retry_after"] <= 1000
        assert await asked_for(w) == [4000000015, 9000000001]
        assert 900 < client.ttl("botapi:match:9000000001") <= 1000


def test_a_match_that_ended_just_now_is_kept_for_less(tmp_path: Path) -> None:
    def match(match_id: int, ended_s_ago: float) -> dict[str, Any]:
        starttime = int(time.time() - ended_s_ago) - 1800
        facts = {"match_id": str(match_id), "duration": 1800, "starttime": starttime}
        return {"result": 1, "match": facts | {"cluster": 153, "replay_salt": 447}}

    for match_id, ended_s_ago in ((21, 60.0), (22, 3600.0)):
        (tmp_path / f"{match_id}.json").write_text(json.dumps(match(match_id, ended_s_ago)))
    settings: Sections = {"cache": {"ttl": 5000, "recent_ttl": 50}}
    with service_env(1, matches=tmp_path, settings=settings) as w, raw(w) as client:
        w.service.wait_ready(1)
        assert ask(w, 21)[0] == ask(w, 22)[0] == 200
        until = time.monotonic() + 10.0
        while client.exists("botapi:match:21", "botapi:match:22") < 2:  # stored after the answer
            assert time.monotonic() < until
        assert 0 < client.ttl("botapi:match:21") <= 50
        assert 50 < client.ttl("botapi:match:22") <= 5000


def test_without_redis_memory_still_answers() -> None:
    with service_env(1) as w:
        w.service.wait_ready(1)
        known = ask(w, 7)
        w.valkey.stop()
        assert ask(w, 7) == known
        status, body = ask(w, 8)
        assert (status, json.loads(body)["error"]) == (503, "store-unavailable")


async def test_the_number_of_matches_in_memory_follows_the_settings() -> None:
    with service_env(1) as w:
        w.service.wait_ready(1)
        known = ask(w, 7)
        text = w.service.config_file.read_text()
        w.service.config_file.write_text(f"{text}\n[cache]\nmemory_entries = 0\n")
        w.service.wait_log("config_applied", 20)
        assert ask(w, 7) == known  # from Redis
        w.valkey.stop()
        assert ask(w, 7)[0] == 503
        assert await asked_for(w) == [7]
