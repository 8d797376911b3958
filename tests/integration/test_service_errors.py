"""Every row of the error table, over real HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import aiohttp
import pytest
import redis

from bench.env import ServiceEnv, service_env, simple_accounts
from bench.service_process import Sections

pytestmark = pytest.mark.integration


def ask(w: ServiceEnv, query: str) -> tuple[int, Any]:
    status, body = w.service.get(f"/match-details{query}")
    answer = json.loads(body)
    assert set(answer) == {"error", "message", "retry_after"}
    return status, answer


def test_bad_requests_and_refused_matches_have_their_words() -> None:
    with service_env(1) as w:
        w.service.wait_ready(1)
        table = {
            "": (400, "match-id-required"),
            "?match_id=": (400, "match-id-required"),
            "?match_id=abc": (400, "invalid"),
            "?match_id=0": (400, "invalid"),
            "?match_id=-5": (400, "invalid"),
            "?match_id=1024000000000": (400, "invalid"),
            "?match_id=9000000001": (404, "not-found"),
            "?match_id=4000000015": (403, "blocked"),
        }
        for query, (status, word) in table.items():
            got_status, answer = ask(w, query)
            assert (got_status, answer["error"]) == (status, word), query
            # A missing match may be too young; the other errors are final.
            assert (answer["retry_after"] is not None) is (word == "not-found"), query
        for path, status in {"/nothing": 404, "/status/": 404}.items():
            got_status, body = w.service.get(path)
            assert got_status == status
            assert json.loads(body)["error"] == "not-found"


def test_without_a_ready_bot_it_says_notready_and_when_to_return() -> None:
    with service_env(1, in_redis=0) as w:
        status, answer = ask(w, "?match_id=5")
        assert (status, answer["error"]) == (503, "notready")
        assert answer["retry_after"] > 0
        assert w.service.get("/readyz")[0] == 503


async def test_a_silent_gc_is_a_timeout_and_is_asked_within_bounds() -> None:
    settings: Sections = {"bots": {"request_timeout": 0.2}, "http": {"deadline": 5}}
    with service_env(3, settings=settings) as w:
        w.service.wait_ready(3)
        await w.sandbox.faults(gc_silent=True)
        status, answer = ask(w, "?match_id=5")
        assert (status, answer["error"]) == (504, "timeout")
        assert len(await w.sandbox.journal("match_request")) == 3


async def test_a_silent_bot_costs_a_try_and_another_one_answers() -> None:
    with service_env(2, settings={"bots": {"request_timeout": 0.2}}) as w:
        w.service.wait_ready(2)
        await w.sandbox.faults(gc_silent={"accounts": ["bot0000"]})
        for match_id in range(300, 304):
            assert w.service.get(f"/match-details?match_id={match_id}")[0] == 200
        served = (await w.sandbox.summary())["served"]
        assert set(served) == {"bot0001"}


def test_a_spent_budget_says_so_and_when_it_frees() -> None:
    with service_env(1, settings={"quota": {"per_account": 2}}) as w:
        w.service.wait_ready(1)
        assert w.service.get("/match-details?match_id=5")[0] == 200
        assert w.service.get("/match-details?match_id=6")[0] == 200
        for _ in range(2):
            status, answer = ask(w, "?match_id=7")
            assert (status, answer["error"]) == (429, "quota-exhausted")
            assert 86_000 < answer["retry_after"] <= 86_400
            w.service.wait_log("child_ended", 10)  # the bot has released the spent account


async def test_a_spent_ip_budget_stops_every_account_behind_it() -> None:
    with service_env(2, settings={"quota": {"per_ip": 3}}) as w:
        w.service.wait_ready(2)
        statuses = [w.service.get(f"/match-details?match_id={n}")[0] for n in range(5, 10)]
        assert statuses == [200, 200, 200, 429, 429]
        assert sum((await w.sandbox.summary())["requests"].values()) == 3


async def test_an_address_that_steam_does_not_name_has_a_budget_too() -> None:
    with service_env(2, in_redis=0, settings={"quota": {"per_ip": 3}}) as w:
        await w.sandbox.faults(logon_no_public_ip=True)
        w.add_accounts()
        w.service.wait_ready(2)
        statuses = [w.service.get(f"/match-details?match_id={n}")[0] for n in range(5, 10)]
        assert statuses == [200, 200, 200, 429, 429]
        assert sum((await w.sandbox.summary())["requests"].values()) == 3


async def test_a_spent_address_is_named_everywhere_and_requests_do_not_wait() -> None:
    """Refused at once with the address and the time; the instance stays ready."""
    with service_env(2, settings={"quota": {"per_ip": 1}, "http": {"deadline": 30}}) as w:
        w.service.wait_ready(2)
        assert json.loads(w.service.get("/readyz")[1]) == {"status": "ready", "ready": 2}
        assert w.service.get("/match-details?match_id=5")[0] == 200
        begun = time.monotonic()
        answers = await asyncio.gather(
            *(asyncio.to_thread(ask, w, f"?match_id={n}") for n in range(6, 16))
        )
        assert time.monotonic() - begun < 10  # a third of the deadline, on a busy machine
        for status, answer in answers:
            assert (status, answer["error"]) == (429, "quota-exhausted")
            assert answer["message"] == "the daily budget of the address 127.0.0.1 is spent"
            assert 86_000 < answer["retry_after"] <= 86_400
        # Known matches are still answered.
        assert w.service.get("/match-details?match_id=5")[0] == 200
        status, body = w.service.get("/readyz")
        ready = json.loads(body)
        assert (status, ready["budget"], ready["ready"]) == (200, "spent", 0)
        assert 86_000 < ready["frees_at"] - time.time() < 86_401
        shown = w.service.status()
        assert shown["router"]["refusal"] == ready["message"] == answers[0][1]["message"]
        assert shown["router"]["spent_addresses"] == {"127.0.0.1": ready["frees_at"]}
        assert shown["bots"]["ready"] == 2  # and both are logged on, for questions about players


def test_an_address_is_used_again_when_redis_has_lost_its_count() -> None:
    with service_env(1, settings={"quota": {"per_ip": 1}}) as w:
        w.service.wait_ready(1)
        statuses = [w.service.get(f"/match-details?match_id={n}")[0] for n in (5, 6)]
        assert statuses == [200, 429]
        assert json.loads(w.service.get("/readyz")[1])["budget"] == "spent"
        with redis.Redis.from_url(w.redis_url) as client:
            assert client.delete("botapi:quota:ip:127.0.0.1") == 1
        deadline = time.monotonic() + 20
        while json.loads(w.service.get("/readyz")[1]) != {"status": "ready", "ready": 1}:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert w.service.get("/match-details?match_id=7")[0] == 200
        assert w.service.status()["router"]["spent_addresses"] == {}


async def test_a_full_queue_refuses_at_once() -> None:
    settings: Sections = {"bots": {"max_in_flight": 1}, "http": {"queue": 2}}
    with service_env(1, sandbox_options=("--gc-delay", "1000"), settings=settings) as w:
        w.service.wait_ready(1)
        async with aiohttp.ClientSession() as session:

            async def status(match_id: int) -> int:
                async with session.get(f"{w.service.url}/match-details?match_id={match_id}") as got:
                    body = await got.json()
                    assert got.status == 200 or body["error"] == "busy"
                    return got.status

            statuses = await asyncio.gather(*(status(n) for n in range(400, 410)))
        assert sorted(statuses) == [200] * 3 + [503] * 7


def test_without_redis_it_says_store_unavailable_and_recovers() -> None:
    with service_env(1) as w:
        w.service.wait_ready(1)
        w.valkey.stop()
        status, answer = ask(w, "?match_id=5")
        assert (status, answer["error"]) == (503, "store-unavailable")
        assert w.service.get("/healthz")[0] == 200
        w.valkey.start()
        assert w.service.get("/match-details?match_id=5")[0] == 200


def test_a_taken_port_is_one_line_and_exit_code_2() -> None:
    with service_env(1, accounts=simple_accounts(1)) as w:
        other = {**w.service.settings, "http": {"port": int(w.service.url.rsplit(":", 1)[1])}}
        code, text = w.service.run_to_end(other)
        assert code == 2
        assert text.count("\n") == 1
        assert "cannot listen on 127.0.0.1 port" in text


def test_a_data_directory_in_use_is_one_line_and_exit_code_2(tmp_path: Any) -> None:
    embedded = {"redis": {"url": "embedded", "data_dir": str(tmp_path)}}
    with service_env(1, settings=embedded) as w:
        code, text = w.service.run_to_end(w.service.settings)
        assert code == 2
        assert text.count("\n") == 1
        assert "is in use by another BotAPI" in text
