"""A real service on the real sandbox: spent accounts, late answers and useless ones, by its journal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import redis

from actors.router.unanswered import APART_S
from bench.env import ServiceEnv, service_env, simple_accounts
from bench.service_process import Sections

pytestmark = pytest.mark.integration

MATCH = 7_100_000_001
LIMIT = 3  # match requests that the GC answers per account


@contextlib.asynccontextmanager
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


async def ask(
    session: aiohttp.ClientSession, w: ServiceEnv, match_id: int, *, within: float | None = None
) -> tuple[int, Any]:
    headers = {} if within is None else {"X-Request-Timeout": str(within)}
    url = f"{w.service.url}/match-details?match_id={match_id}"
    async with session.get(url, headers=headers) as answer:
        return answer.status, await answer.json()


async def requests(w: ServiceEnv) -> list[dict[str, Any]]:
    return list(await w.sandbox.journal("match_request"))


async def log_ons(w: ServiceEnv) -> Counter[str]:
    return Counter((await w.sandbox.summary())["logons"])


async def test_spare_accounts_are_used_when_valves_limit_is_below_ours() -> None:
    """All that eight accounts can be asked is answered, and little is asked in vain."""
    settings: Sections = {"bots": {"request_timeout": 1}, "http": {"deadline": 10}}
    options = ("--quota-account", str(LIMIT), "--gc-delay", "20")
    with service_env(
        3, accounts=simple_accounts(8), sandbox_options=options, settings=settings
    ) as w:
        w.service.wait_ready(3)
        async with client() as session:
            asked = []
            for number in range(8 * LIMIT + 6):
                asked.append(asyncio.create_task(ask(session, w, MATCH + number)))
                await asyncio.sleep(0.7)
            answers = await asyncio.gather(*asked)
        assert [status for status, _ in answers].count(200) == 8 * LIMIT, answers
        assert all(body["retry_after"] for status, body in answers if status != 200)
        outcomes = Counter((one["account"], one["outcome"]) for one in await requests(w))
        for account in (one["name"] for one in simple_accounts(8)):
            assert outcomes[account, "answered"] == LIMIT
            assert outcomes[account, "silent_quota_account"] <= 8


async def test_an_account_whose_requests_are_thrown_away_rests_and_all_are_answered() -> None:
    accounts = simple_accounts(3)
    with service_env(2, accounts=accounts) as w:
        w.service.wait_ready(2)
        bad = min(await log_ons(w))
        await w.sandbox.faults(gc_drop_requests={"accounts": [bad]})
        async with client() as session:
            for number in range(10):
                status, body = await ask(session, w, MATCH + number)
                assert status == 200, body
                await asyncio.sleep(APART_S + 0.1)  # drops at once are one piece of evidence
        outcomes = Counter((one["account"], one["outcome"]) for one in await requests(w))
        assert outcomes[bad, "silent_dropped"] == 3
        assert sum(outcomes.values()) == 10 + 3
        assert [one["account"] for one in w.service.events("account_spent_early")] == [bad]
        assert set(await log_ons(w)) == {one["name"] for one in accounts}  # the spare one serves


async def test_a_gc_that_is_slow_for_all_serves_all_at_no_extra_cost() -> None:
    settings: Sections = {"bots": {"request_timeout": 2}, "http": {"deadline": 9}}
    options = ("--gc-delay", "3500")
    with service_env(
        3, accounts=simple_accounts(6), sandbox_options=options, settings=settings
    ) as w:
        w.service.wait_ready(3)
        before = await log_ons(w)
        async with client() as session:
            answers = await asyncio.gather(*(ask(session, w, MATCH + n) for n in range(12)))
        assert [status for status, _ in answers] == [200] * 12
        assert len(await requests(w)) <= 12 + 1
        assert await log_ons(w) == before
        assert list(w.service.events("circuit_opened")) == []
        assert list(w.service.events("bot_deprioritised")) == []


async def test_a_late_answer_is_kept_for_the_next_client_in_every_container() -> None:
    settings: Sections = {"bots": {"request_timeout": 1}, "http": {"deadline": 5}}
    with service_env(1, sandbox_options=("--gc-delay", "4000"), settings=settings) as w:
        w.service.wait_ready(1)
        async with client() as session:
            status, body = await ask(session, w, MATCH, within=1.5)
            assert (status, body["error"]) == (504, "timeout")
            # The journal has the answer before the service has it.
            await w.sandbox.wait_journal("match_answer")
            await asyncio.to_thread(wait_until_known, w, MATCH)
            status, _ = await ask(session, w, MATCH)
            assert status == 200
        assert len(await requests(w)) == 1


def wait_until_known(w: ServiceEnv, match_id: int) -> None:
    """Wait until the match is in Redis, where every container finds it."""
    deadline = time.monotonic() + 5.0
    with redis.Redis.from_url(w.redis_url) as store:
        while not store.exists(f"botapi:match:{match_id}"):
            assert time.monotonic() < deadline, "the late answer is not kept"
            time.sleep(0.01)


async def test_a_stop_does_not_wait_for_late_answers() -> None:
    settings: Sections = {"bots": {"request_timeout": 1}, "http": {"deadline": 5}}
    with service_env(1, settings=settings) as w:
        w.service.wait_ready(1)
        await w.sandbox.faults(gc_silent=True)
        async with client() as session:
            status, _ = await ask(session, w, MATCH, within=1.5)
            assert status == 504
        begun = asyncio.get_running_loop().time()
        assert await asyncio.to_thread(w.service.stop) == 0
        assert asyncio.get_running_loop().time() - begun < 10.0
        assert set(w.scores().values()) == {0.0}


USELESS: dict[str, dict[str, Any]] = {
    "another match": {"gc_other_match": True},
    "unknown result": {"gc_result": 99},
    "over 1 MiB": {"gc_answer_kb": 1100},
    "cut short": {"gc_garbled": True},
}


async def test_useless_answers_cost_two_requests_and_have_a_word_of_their_own() -> None:
    with service_env(4) as w:
        w.service.wait_ready(4)
        async with client() as session:
            for number, switches in enumerate(USELESS.values()):
                await w.sandbox.faults(**switches)
                before = len(await requests(w))
                for _ in range(4):
                    status, body = await ask(session, w, MATCH + 2 * number)
                    assert (status, body["error"]) == (502, "unusable"), switches
                    assert body["retry_after"] >= 1
                assert len(await requests(w)) == before + 2
                await w.sandbox.clear_faults()
            status, _ = await ask(session, w, MATCH + 100)
            assert status == 200
            lines = await bulk(session, w, [MATCH, MATCH + 101])
        assert {line["id"]: line.get("error") for line in lines} == {
            MATCH: "unusable",
            MATCH + 101: None,
        }


async def bulk(session: aiohttp.ClientSession, w: ServiceEnv, match_ids: list[int]) -> list[Any]:
    url = f"{w.service.url}/match-details"
    async with session.post(url, json={"match_ids": match_ids}) as answer:
        assert answer.status == 200
        return [json.loads(line) async for line in answer.content]


async def test_trouble_inside_the_gc_is_a_timeout_that_costs_two_requests() -> None:
    with service_env(4) as w:
        w.service.wait_ready(4)
        async with client() as session:
            await w.sandbox.faults(gc_result=20)
            for _ in range(4):
                status, body = await ask(session, w, MATCH)
                assert (status, body["error"]) == (504, "timeout")
                assert body["retry_after"] >= 1
            assert len(await requests(w)) == 2
