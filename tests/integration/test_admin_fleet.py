"""Orders to the fleet over HTTP: bots restart, rest and come back, and no request is lost by it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.operator_client import ask, with_token

from bench.env import ServiceEnv, service_env, simple_accounts
from bench.service_process import toml

pytestmark = pytest.mark.integration

WITHIN_S = 20.0
BOTS = 3


@pytest.fixture
def w(tmp_path: Path) -> Iterator[ServiceEnv]:
    settings = with_token(tmp_path)
    with service_env(BOTS, accounts=simple_accounts(6), settings=settings) as running:
        running.service.wait_ready(BOTS)
        yield running


async def order(w: ServiceEnv, path: str, body: Any = None) -> dict[str, Any]:
    status, answer = await ask(w.service.url, "POST", f"/admin/{path}", body)
    assert status == 202, answer
    return answer


async def wait_for(w: ServiceEnv, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the first /status of which that is so."""
    until = time.monotonic() + WITHIN_S
    while time.monotonic() < until:
        status = await asyncio.to_thread(w.service.status)
        if is_so(status):
            return status
        await asyncio.sleep(0.02)
    raise TimeoutError(w.service.log[-3000:])


def states(status: dict[str, Any]) -> list[str]:
    return sorted(bot["state"] for bot in status["fleet"])


def bot(status: dict[str, Any], bot_id: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in status["fleet"] if one["bot_id"] == bot_id)
    return found


async def test_a_parked_bot_gives_its_account_back_and_stays_away_until_it_is_wanted(
    w: ServiceEnv,
) -> None:
    plan = await order(w, "bots/bot-2/park")
    assert plan["parked"] == ["bot-2"]
    status = await wait_for(w, lambda s: bot(s, "bot-2")["state"] == "parked")
    assert bot(status, "bot-2")["next_try_at"] is None
    assert sum(w.scores().values()) == BOTS - 1
    assert status["router"]["ready"] == BOTS - 1
    await order(w, "bots/bot-2/unpark")
    await asyncio.to_thread(w.service.wait_ready, BOTS)


async def test_a_restarted_bot_logs_off_and_on_again(w: ServiceEnv) -> None:
    since = await w.sandbox.last_event()
    await order(w, "bots/bot-1/restart")
    await w.sandbox.wait_journal("gc_welcome", since=since)
    status = await wait_for(w, lambda s: s["router"]["ready"] == BOTS)
    assert bot(status, "bot-1")["restarts"] == 1
    assert [one["restarts"] for one in status["fleet"]].count(0) == BOTS - 1


async def test_a_drained_fleet_frees_every_account_and_goes_on_when_it_is_resumed(
    w: ServiceEnv,
) -> None:
    await order(w, "bots/bot-3/park")
    plan = await order(w, "fleet/drain")
    assert plan["drained"] is True
    await wait_for(w, lambda s: states(s) == ["parked"] * BOTS)
    assert set(w.scores().values()) == {0}
    assert w.service.get("/match-details?match_id=7490235544")[0] == 503
    assert w.service.get("/readyz")[0] == 503
    status, answer = await ask(w.service.url, "POST", "/admin/bots/bot-1/restart")
    assert (status, answer["error"]) == (409, "drained")

    plan = await order(w, "fleet/resume")
    assert (plan["drained"], plan["parked"]) == (False, ["bot-3"])  # that was another order
    await asyncio.to_thread(w.service.wait_ready, BOTS - 1)
    assert bot(w.service.status(), "bot-3")["state"] == "parked"


async def test_the_fleet_has_another_size_until_that_of_the_settings_is_edited(
    w: ServiceEnv,
) -> None:
    plan = await order(w, "fleet/scale", {"count": 5})
    assert (plan["count"], plan["configured"]) == (5, BOTS)
    await asyncio.to_thread(w.service.wait_ready, 5)
    await order(w, "fleet/scale", {"count": 1})
    await wait_for(w, lambda s: len(s["fleet"]) == 1)

    edit(w, {"log": {"level": "debug"}})
    await asyncio.to_thread(w.service.wait_log, "config_applied", WITHIN_S)
    assert len(w.service.status()["fleet"]) == 1  # an edit of something else leaves it
    edit(w, {"bots": {"count": 2}})
    await asyncio.to_thread(w.service.wait_ready, 2)


def edit(w: ServiceEnv, more: dict[str, dict[str, Any]]) -> None:
    settings = {name: dict(values) for name, values in w.service.settings.items()}
    for section, values in more.items():
        settings.setdefault(section, {}).update(values)
    new = w.service.config_file.with_name("new.toml")
    new.write_text(toml(w.service._filled(settings)))
    new.replace(w.service.config_file)


async def test_no_request_is_lost_while_bots_rest_and_return(w: ServiceEnv) -> None:
    """One bot is always left alone; the others come and go under a stream of requests."""
    answers: list[int] = []
    stop = asyncio.Event()

    async def ask_on() -> None:
        async with aiohttp.ClientSession() as client:
            number = 7_490_000_000
            while not stop.is_set():
                number += 1
                url = f"{w.service.url}/match-details?match_id={number}"
                async with client.get(url) as answer:
                    answers.append(answer.status)

    asking = [asyncio.create_task(ask_on()) for _ in range(4)]
    for bot_id in ("bot-1", "bot-2"):
        await order(w, f"bots/{bot_id}/restart")
        await wait_for(w, lambda s, one=bot_id: bot(s, one)["restarts"] == 1)  # type: ignore[misc]
    await order(w, "bots/bot-1/park")
    await wait_for(w, lambda s: bot(s, "bot-1")["state"] == "parked")
    await order(w, "fleet/scale", {"count": 2})
    await wait_for(w, lambda s: len(s["fleet"]) == 2)
    stop.set()
    await asyncio.gather(*asking)
    assert set(answers) == {200}


async def test_a_stop_of_a_drained_fleet_is_clean(w: ServiceEnv) -> None:
    await order(w, "fleet/drain")
    assert await asyncio.to_thread(w.service.stop) == 0
    assert set(w.scores().values()) == {0}


@pytest.mark.parametrize(
    ("path", "body", "status", "word"),
    [
        ("bots/bot-9/restart", None, 404, "not-found"),
        ("bots/bot-9/park", None, 404, "not-found"),
        ("bots/bot-9/unpark", None, 404, "not-found"),
        ("fleet/scale", {"count": 0}, 400, "invalid"),
        ("fleet/scale", {"count": 1001}, 400, "invalid"),
        ("fleet/scale", {"count": True}, 400, "invalid"),
        ("fleet/scale", [], 400, "invalid"),
    ],
)
async def test_what_cannot_be_done_is_said_in_a_word(
    refusing: ServiceEnv, path: str, body: Any, status: int, word: str
) -> None:
    got, answer = await ask(refusing.service.url, "POST", f"/admin/{path}", body)
    assert (got, answer["error"]) == (status, word)
    action = list(refusing.service.events("admin_action"))[-1]
    assert (action["who"], action["outcome"]) == ("token", word)


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceEnv]:
    settings = with_token(tmp_path_factory.mktemp("admin"))
    with service_env(1, accounts=simple_accounts(1), settings=settings) as running:
        yield running
