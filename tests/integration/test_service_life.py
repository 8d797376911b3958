"""The service as its users run it: accounts by the seed's commands, matches, a clean goodbye."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import aiohttp
import pytest

from bench.env import service_env, service_settings, simple_accounts
from bench.service_process import Sections, ServiceProcess

pytestmark = pytest.mark.integration

REAL = Path(
    os.environ.get("BOTAPI_REAL_MATCHES")
    or Path(__file__).resolve().parents[2].parent / "shared" / "data"
)
TOTP_ACCOUNT = {"name": "totp", "password": "pw", "shared_secret": "c2FuZGJveC1kZW1vLXNlY3JldA=="}


@pytest.mark.parametrize("transport", ["websocket", "tcp"])
async def test_a_match_is_served_and_everything_is_given_back(transport: str) -> None:
    accounts = [*simple_accounts(2), TOTP_ACCOUNT]
    with service_env(3, accounts=accounts, settings={"steam": {"transport": transport}}) as w:
        w.service.wait_ready(3)
        assert set(w.scores().values()) == {1}
        status, body = w.service.get("/match-details?match_id=7490235544")
        answer = json.loads(body)
        assert status == 200
        assert answer["id"] == 7490235544
        assert answer["replay_url"] == (
            "http://replay153.valve.net/570/7490235544_447089001.dem.bz2"
        )
        assert answer["match"]["cluster"] == 153
        assert answer["match"]["replay_salt"] == 447089001
        assert w.service.stop(signal.SIGINT) == 0
        assert set(w.scores().values()) == {0}
        ends = await w.sandbox.journal("session_ended")
        assert [one["clean"] for one in ends] == [True] * 3
        assert await w.sandbox.journal("protocol_violation") == []
        assert await w.sandbox.journal("sandbox_error") == []


async def test_a_restart_logs_on_with_the_stored_tokens() -> None:
    with service_env(3, accounts=[*simple_accounts(2), TOTP_ACCOUNT]) as w:
        w.service.wait_ready(3)
        assert w.service.stop() == 0
        w.service.start()
        w.service.wait_ready(3)
        logons = await w.sandbox.journal("credential_logon")
        assert sorted(one["account"] for one in logons) == ["bot0000", "bot0001", "totp"]
        assert len(await w.sandbox.journal("token_logon")) == 6


async def test_a_killed_process_takes_its_accounts_back_at_once() -> None:
    with service_env(20) as w:
        w.service.wait_ready(20)
        before = {bot["bot_id"]: bot["account"] for bot in w.service.status()["fleet"]}
        w.service.kill()
        assert set(w.scores().values()) == {1}
        w.service.start()
        w.service.wait_ready(20)
        assert w.service.age_s < 5
        assert {b["bot_id"]: b["account"] for b in w.service.status()["fleet"]} == before
        assert set((await w.sandbox.summary())["max_concurrent"].values()) == {1}
        assert len(await w.sandbox.journal("credential_logon")) == 20


async def test_a_killed_process_is_inherited_by_another_within_a_lease() -> None:
    settings: Sections = {"bots": {"lease_seconds": 13}}
    with service_env(2, settings=settings) as w:
        w.service.wait_ready(2)
        w.service.kill()
        heir = ServiceProcess(service_settings(2, w.sandbox, w.redis_url, settings))
        with heir:
            heir.wait_ready(2, within=13 + 8)
            assert set((await w.sandbox.summary())["max_concurrent"].values()) == {1}


async def test_many_requests_for_one_match_cost_one_gc_request() -> None:
    with service_env(3, sandbox_options=("--gc-delay", "200")) as w:
        w.service.wait_ready(3)
        async with aiohttp.ClientSession() as session:

            async def ask() -> bytes:
                async with session.get(f"{w.service.url}/match-details?match_id=5") as answer:
                    assert answer.status == 200
                    return await answer.read()

            bodies = await asyncio.gather(*(ask() for _ in range(60)))
        assert len(set(bodies)) == 1
        assert len(await w.sandbox.journal("match_request")) == 1


async def test_requests_take_turns_over_the_bots() -> None:
    with service_env(4) as w:
        w.service.wait_ready(4)
        for match_id in range(100, 140):
            assert w.service.get(f"/match-details?match_id={match_id}")[0] == 200
        assert set((await w.sandbox.summary())["requests"].values()) == {10}


async def test_a_real_answer_comes_out_field_by_field(tmp_path: Path) -> None:
    source = REAL / "retriever_match.json"
    if not source.exists():
        pytest.skip(f"no real match at {source}: set BOTAPI_REAL_MATCHES to where one is")
    real = json.loads(source.read_text())
    (tmp_path / "match.json").write_text(json.dumps(real))
    with service_env(1, matches=tmp_path) as w:
        w.service.wait_ready(1)
        status, body = w.service.get("/match-details?match_id=1781962623")
        assert status == 200
        assert json.loads(body) == {"id": 1781962623, "replay_url": None, **real}


async def test_status_tells_the_fleet_and_readiness() -> None:
    with service_env(2, accounts=simple_accounts(1)) as w:
        w.service.wait_ready(1)
        status = w.service.status()
        states = sorted((bot["state"], bot["account"]) for bot in status["fleet"])
        assert states == [("ready", "bot0000"), ("waiting_for_account", None)]
        assert w.service.get("/readyz")[0] == 200
        assert w.service.get("/healthz")[0] == 200


async def test_an_exhausted_account_makes_way_for_the_next() -> None:
    settings = {"quota": {"per_account": 3}}
    with service_env(1, accounts=simple_accounts(2), settings=settings) as w:
        w.service.wait_ready(1)
        answers = [w.service.get(f"/match-details?match_id={n}")[0] for n in range(200, 203)]
        # The next one finds the first account spent, and waits until the bot has the second.
        answers += [w.service.get(f"/match-details?match_id={n}")[0] for n in range(203, 206)]
        assert answers == [200] * 6
        served = (await w.sandbox.summary())["requests"]
        assert max(served.values()) <= 3
        assert len(served) == 2
