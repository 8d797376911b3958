"""Profile cards and former names over a link, both transports, against the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from dota2.protobufs.dota_gcmessages_common_pb2 import CMsgDOTAProfileCard
from steam.protobufs.steammessages_clientserver_pb2 import (
    CMsgClientAMGetPersonaNameHistoryResponse,
)
from support.steam_env import ACCOUNTS, OpenLink, SteamEnv

from actors.errors import GcUnavailable, SteamUnreachable
from actors.steam import gc as gc_module
from actors.steam.port import TransportKind
from bench.sandbox_process import SandboxProcess

pytestmark = pytest.mark.integration
FIRST = 76_561_197_960_265_728


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess(ACCOUNTS) as running:
        yield running


@pytest.fixture(params=list(TransportKind), ids=str)
async def env(
    sandbox: SandboxProcess,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[SteamEnv]:
    monkeypatch.setattr(gc_module, "PAUSES_S", (0.05,) * 20)
    await sandbox.quota(account=100, ip=500, cards=10_000, reset=True)
    async with SteamEnv(sandbox, request.param) as env:
        yield env
    await sandbox.clear_faults()


async def card(bot: OpenLink, account_id: int, timeout_s: float = 5.0) -> int:
    body = await bot.link.request_profile(account_id, timeout_s=timeout_s)
    return int(CMsgDOTAProfileCard.FromString(body).account_id)


async def names(bot: OpenLink, *steam_ids: int, timeout_s: float = 5.0) -> list[int]:
    body = await bot.link.request_aliases(steam_ids, timeout_s=timeout_s)
    answer = CMsgClientAMGetPersonaNameHistoryResponse.FromString(body)
    return [one.steamid for one in answer.responses]


async def test_answers_find_their_askers_out_of_order_and_twice(env: SteamEnv) -> None:
    bot = await env.ready("abaddon")
    await env.sandbox.faults(gc_out_of_order=5, gc_duplicate=True, send_unknown_messages=True)
    players = list(range(100, 120))
    asked = [card(bot, player) for player in players]
    named = [names(bot, FIRST + player) for player in players]
    assert await asyncio.gather(*asked) == players
    assert await asyncio.gather(*named) == [[FIRST + player] for player in players]


async def test_many_names_come_in_one_answer(env: SteamEnv) -> None:
    bot = await env.ready("abaddon")
    wanted = [FIRST + n for n in range(100)]
    assert await names(bot, *wanted) == wanted


async def test_cards_are_answered_past_the_quota_of_matches(env: SteamEnv) -> None:
    await env.sandbox.quota(account=0)
    bot = await env.ready("abaddon")
    with pytest.raises(TimeoutError):
        await bot.link.request_match(5, timeout_s=0.2)
    assert await card(bot, 9) == 9
    await env.sandbox.quota(cards=0)
    with pytest.raises(TimeoutError):
        await card(bot, 9, 0.2)


async def test_silence_is_a_timeout_and_leaves_nothing_behind(env: SteamEnv) -> None:
    bot = await env.ready("abaddon")
    await env.sandbox.faults(profile_silent=True, aliases_silent=True)
    with pytest.raises(TimeoutError):
        await card(bot, 9, 0.1)
    with pytest.raises(TimeoutError):
        await names(bot, FIRST, timeout_s=0.1)
    assert not bot.link._inbox.cards
    assert not bot.link._inbox.names


async def test_a_lost_gc_fails_the_cards_and_leaves_the_names(env: SteamEnv) -> None:
    bot = await env.ready("abaddon")
    await env.sandbox.faults(profile_silent=True)
    since = await env.sandbox.last_event()
    waiting = asyncio.create_task(card(bot, 9))
    await env.sandbox.wait_journal("profile_request", since=since)
    await env.sandbox.faults(gc_down=True)
    with pytest.raises(GcUnavailable):
        await waiting
    with pytest.raises(GcUnavailable):
        await card(bot, 9)
    assert await names(bot, FIRST) == [FIRST]


async def test_a_broken_connection_fails_both(env: SteamEnv) -> None:
    bot = await env.ready("abaddon")
    await env.sandbox.faults(profile_silent=True, aliases_silent=True)
    since = await env.sandbox.last_event()
    waiting = [asyncio.create_task(card(bot, 9)), asyncio.create_task(names(bot, FIRST))]
    await env.sandbox.wait_journal("profile_request", since=since)
    await env.sandbox.wait_journal("aliases_request", since=since)
    await env.sandbox.drop("reset")
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(one) for one in outcomes} == {SteamUnreachable}


async def test_who_is_not_logged_on_is_told_nothing(env: SteamEnv) -> None:
    bot = await env.logged_on("abaddon")
    with pytest.raises(GcUnavailable):
        await card(bot, 9)
    assert await names(bot, FIRST) == [FIRST]
    await bot.link.close()
    with pytest.raises(SteamUnreachable):
        await names(bot, FIRST)
