"""Steam is away for a while, or refuses every account: no bot is blamed, and all are back soon after."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest
import redis
from support.operator_client import ask, with_token

from bench.env import ServiceEnv, service_env
from bench.service_process import Sections

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

BOTS = 12
AWAY_S = 15.0
SOON_S = 15.0
# What the supervisor decides after a failure that bots share is in the log at debug.
DEBUG: Sections = {"log": {"level": "debug"}}
# A second failure of its own would park a bot for five minutes.
STRICT: Sections = {**DEBUG, "restart": {"intensity": 1, "period": 600}}
# And the first backoffs are long already: only the first success can bring all bots back soon.
SLOW: Sections = {
    **DEBUG,
    "restart": {"intensity": 1, "period": 600, "backoff_min": 40, "backoff_max": 60},
}


def decisions(w: ServiceEnv) -> set[str]:
    """Return what the supervisor decided after any end of a bot."""
    ends = itertools.chain(w.service.events("child_ended"), w.service.events("child_crashed"))
    return {str(end["decision"]) for end in ends}


def cooldowns(w: ServiceEnv) -> dict[str, float]:
    with redis.Redis.from_url(w.redis_url, decode_responses=True) as client:
        return dict(client.zrange("botapi:cooldowns", 0, -1, withscores=True))


@pytest.mark.parametrize(
    "faults",
    [
        {"refuse_connect": True, "directory_status": "500"},
        {"close_handshake": True},
        {"logon_eresult": 20},
    ],
    ids=str,
)
async def test_an_outage_parks_no_bot_and_the_first_that_is_back_wakes_the_others(
    faults: dict[str, object],
) -> None:
    with service_env(BOTS, settings=SLOW) as w:
        w.service.wait_ready(BOTS)
        await w.sandbox.faults(**faults)
        await w.sandbox.drop("close")
        await asyncio.sleep(AWAY_S)
        assert w.service.status()["router"]["ready"] == 0
        await w.sandbox.clear_faults()
        await asyncio.to_thread(w.service.wait_ready, BOTS, SOON_S)
        assert decisions(w) == {"RestartAfter"}
        assert cooldowns(w) == {}
        assert max((await w.sandbox.summary())["max_concurrent"].values()) == 1


async def test_a_refusal_of_every_account_at_once_takes_none_of_them_away() -> None:
    with service_env(BOTS, settings=STRICT) as w:
        w.service.wait_ready(BOTS)
        await w.sandbox.faults(logon_eresult={"value": 18, "times": 3 * BOTS})
        await w.sandbox.drop("close")
        await w.sandbox.wait_journal("logon_refused", 3 * BOTS, within_s=60)
        await asyncio.to_thread(w.service.wait_ready, BOTS, 2 * SOON_S)
        assert cooldowns(w) == {}
        assert list(w.service.events("account_needs_human")) == []
        assert "ParkFor" not in decisions(w)


async def test_a_bot_that_an_operator_parked_is_not_woken(tmp_path: Path) -> None:
    with service_env(BOTS, settings={**STRICT, **with_token(tmp_path)}) as w:
        w.service.wait_ready(BOTS)
        await w.sandbox.faults(refuse_connect=True)
        await w.sandbox.drop("close")
        await asyncio.sleep(AWAY_S / 3)
        status, _ = await ask(w.service.url, "POST", "/admin/bots/bot-3/park")
        assert status == 202
        await asyncio.sleep(AWAY_S / 3)
        await w.sandbox.clear_faults()
        await asyncio.to_thread(w.service.wait_ready, BOTS - 1, SOON_S)
        await asyncio.sleep(1.0)
        states = {one["bot_id"]: one["state"] for one in w.service.status()["fleet"]}
        assert states.pop("bot-3") == "parked"
        assert set(states.values()) == {"ready"}


async def test_turns_are_left_for_the_return_of_steam() -> None:
    """Attempts that do not reach Steam cost no turn: a bucket of one in ten seconds is not empty."""
    pacing = {"logon": {"per_minute": 6, "burst": BOTS}}
    with service_env(BOTS, settings={**STRICT, **pacing}) as w:
        w.service.wait_ready(1)
        assert w.service.stop() == 0
        with redis.Redis.from_url(w.redis_url) as client:
            for bucket in client.keys("botapi:logons:*"):
                client.delete(bucket)
        await w.sandbox.faults(refuse_connect=True)
        w.service.start()
        await asyncio.sleep(AWAY_S / 2)
        since = await w.sandbox.last_event()
        await w.sandbox.clear_faults()
        # With passwords, at three turns each, as many as the full bucket has: four at once.
        await asyncio.to_thread(w.service.wait_ready, BOTS // 3, SOON_S)
        assert len(await w.sandbox.journal("token_logon", since=since)) >= BOTS // 3
