"""Welcome, matches, silence and loss of the Game Coordinator, over both transports."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator

import pytest
from support.steam_env import ACCOUNTS, OpenLink, SteamEnv

from actors.errors import GcUnavailable, RequestDropped, SteamUnreachable
from actors.matches.protobuf.decoder import MatchDecoder
from actors.steam import gc as gc_module
from actors.steam.port import Dropped, GcLost, GcReady, TransportKind
from bench.sandbox_process import SandboxProcess

pytestmark = pytest.mark.integration
REAL_MATCH = 7490235544


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
    monkeypatch.setattr(gc_module, "GOING_DOWN_S", 0.1)
    await sandbox.quota(account=100, ip=500, reset=True)
    async with SteamEnv(sandbox, request.param) as env:
        yield env
    await sandbox.clear_faults()


async def match(bot: OpenLink, match_id: int = REAL_MATCH, *, timeout_s: float = 5.0) -> int:
    """Request a match; return the id in the answer."""
    body = await bot.link.request_match(match_id, timeout_s=timeout_s)
    details = MatchDecoder().decode(body)
    assert details.match_id is not None
    return details.match_id


async def test_a_match_is_what_the_gc_knows(env: SteamEnv) -> None:
    bot = await env.ready("abaddon")
    body = await bot.link.request_match(REAL_MATCH, timeout_s=5)
    details = MatchDecoder().decode(body)
    assert (details.result, details.match_id) == (1, REAL_MATCH)
    assert (details.replay.cluster, details.replay.salt) == (153, 447089001)
    assert [type(one) for one in bot.events] == [GcReady]


async def test_unknown_and_blocked_matches_are_answers_too(env: SteamEnv) -> None:
    bot = await env.ready("abaddon")
    await env.sandbox.hide_matches(not_found=[6_000_000_001], blocked=[6_000_000_002])
    results = [
        MatchDecoder().decode(await bot.link.request_match(number, timeout_s=5)).result
        for number in (6_000_000_001, 6_000_000_002)
    ]
    assert results == [2, 15]


async def test_fifty_in_flight_find_their_askers_out_of_order(env: SteamEnv) -> None:
    bot = await env.ready("abaddon")
    await env.sandbox.faults(gc_out_of_order=10)
    wanted = [6_000_000_100 + n for n in range(50)]
    assert await asyncio.gather(*(match(bot, one) for one in wanted)) == wanted


async def test_second_answers_are_dropped(env: SteamEnv) -> None:
    bot = await env.ready("abaddon")
    await env.sandbox.faults(gc_duplicate=True)
    wanted = [6_000_000_200 + n for n in range(20)]
    for one in wanted:
        assert await match(bot, one) == one
    assert await asyncio.gather(*(match(bot, one) for one in wanted)) == wanted


async def test_unknown_messages_between_answers_cost_nothing(env: SteamEnv) -> None:
    await env.sandbox.faults(send_unknown_messages=True)
    bot = await env.ready("abaddon")
    for one in range(6_000_000_300, 6_000_000_310):
        assert await match(bot, one) == one
    await env.sandbox.call("POST", "/push", {"all": True, "what": "unknown"})
    assert await match(bot) == REAL_MATCH


async def test_silence_past_the_quota_is_a_timeout(env: SteamEnv) -> None:
    await env.sandbox.quota(account=2)
    bot = await env.ready("abaddon")
    assert [await match(bot, one) for one in (6_000_000_400, 6_000_000_401)]
    with pytest.raises(TimeoutError):
        await match(bot, 6_000_000_402, timeout_s=0.2)
    await env.sandbox.quota(reset=True)
    assert await match(bot) == REAL_MATCH


async def test_a_late_answer_without_a_waiter_breaks_nothing(env: SteamEnv) -> None:
    bot = await env.ready("abaddon")
    await env.sandbox.faults(gc_delay_ms=300)
    with pytest.raises(TimeoutError):
        await match(bot, 6_000_000_500, timeout_s=0.05)
    assert await match(bot, 6_000_000_501) == 6_000_000_501


async def test_a_late_answer_is_accepted_as_long_as_the_session_lives(env: SteamEnv) -> None:
    bot = await env.ready("abaddon")
    await env.sandbox.faults(gc_delay_ms=700, gc_out_of_order=3)
    wanted = [6_000_000_510 + n for n in range(6)]
    bodies = await asyncio.gather(
        *(bot.link.request_match(one, timeout_s=0.1, late_s=math.inf) for one in wanted)
    )
    assert [MatchDecoder().decode(body).match_id for body in bodies] == wanted


async def test_late_requests_end_with_their_time_or_with_the_session(env: SteamEnv) -> None:
    bot = await env.ready("abaddon")
    await env.sandbox.faults(gc_silent=True)
    with pytest.raises(TimeoutError):
        await bot.link.request_match(6_000_000_520, timeout_s=0.1, late_s=0.1)
    since = await env.sandbox.last_event()
    late = asyncio.create_task(
        bot.link.request_match(6_000_000_521, timeout_s=0.1, late_s=math.inf)
    )
    await env.sandbox.wait_journal("match_request", since=since)
    await env.sandbox.faults(gc_down=True)
    with pytest.raises(GcUnavailable):
        await late
    assert not bot.link._inbox.matches


async def test_late_requests_of_a_connection_are_bounded(
    env: SteamEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = await env.ready("abaddon")
    monkeypatch.setattr(bot.link._inbox.matches, "_most", 3)
    await env.sandbox.faults(gc_silent=True)
    late = [
        asyncio.create_task(
            bot.link.request_match(6_000_000_530 + n, timeout_s=0.05, late_s=math.inf)
        )
        for n in range(5)
    ]
    done, pending = await asyncio.wait(late, timeout=1.0)
    assert done == set(late[:2])  # the oldest
    assert all(isinstance(one.exception(), TimeoutError) for one in done)
    assert len(bot.link._inbox.matches) == 3
    for one in pending:
        one.cancel()
    await asyncio.wait(pending)
    assert not bot.link._inbox.matches


async def test_a_cancelled_request_leaves_nothing_behind(env: SteamEnv) -> None:
    bot = await env.ready("abaddon")
    await env.sandbox.faults(gc_silent=True)
    since = await env.sandbox.last_event()
    task = asyncio.create_task(match(bot, 6_000_000_600, timeout_s=60))
    await env.sandbox.wait_journal("match_request", since=since)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not bot.link._inbox.matches
    await env.sandbox.clear_faults()
    assert await match(bot) == REAL_MATCH


@pytest.mark.parametrize("how", [True, "no_job"])
async def test_a_dropped_request_fails_at_once(env: SteamEnv, how: object) -> None:
    bot = await env.ready("abaddon")
    await env.sandbox.faults(gc_drop_requests={"value": how, "times": 1})
    with pytest.raises(RequestDropped):
        await match(bot, timeout_s=60)
    assert await match(bot) == REAL_MATCH


@pytest.mark.parametrize("how", ["zlib", "gzip", "whole"])
async def test_compressed_answers_are_read(env: SteamEnv, how: str) -> None:
    bot = await env.ready("abaddon")
    await env.sandbox.faults(gc_compressed={"value": how, "times": 1})
    assert await match(bot) == REAL_MATCH


async def test_an_answer_in_an_unknown_compression_fails_at_once(env: SteamEnv) -> None:
    bot = await env.ready("abaddon")
    await env.sandbox.faults(gc_compressed={"value": "unknown", "times": 1})
    with pytest.raises(RequestDropped):
        await match(bot, timeout_s=60)
    assert await match(bot) == REAL_MATCH


async def test_hellos_that_are_lost_are_repeated(env: SteamEnv) -> None:
    since = await env.sandbox.last_event()
    await env.sandbox.faults(lose_hellos=3)
    await env.ready("abaddon")
    hellos = await env.sandbox.journal("gc_hello", since=since)
    assert [one["outcome"] for one in hellos][:4] == ["lost", "lost", "lost", "welcomed"]


async def test_an_account_without_the_game_asks_for_it(env: SteamEnv) -> None:
    bot = await env.ready(f"poor-{env.transport}")
    assert await match(bot) == REAL_MATCH


async def test_a_welcome_that_never_comes_ends_with_the_time_limit(env: SteamEnv) -> None:
    await env.sandbox.faults(gc_down="silent")
    bot = await env.logged_on("abaddon")
    with pytest.raises(GcUnavailable, match="no welcome"):
        await bot.link.launch(timeout_s=0.3)
    with pytest.raises(GcUnavailable):
        await match(bot)
    await env.sandbox.clear_faults()
    await bot.wait_event(GcReady)  # the hellos continue by themselves
    assert await match(bot) == REAL_MATCH


async def test_a_session_that_the_gc_forgot_is_greeted_again(env: SteamEnv) -> None:
    bot = await env.ready("abaddon")
    since = await env.sandbox.last_event()
    await env.sandbox.call("POST", "/push", {"all": True, "what": "gc_status", "status": 2})
    await bot.wait_event(GcLost)
    await bot.wait_event(GcReady, 2)
    assert await env.sandbox.journal("gc_hello", since=since)


@pytest.mark.parametrize("how", ["no_session", "going_down", "queue"])
async def test_a_gc_that_goes_down_is_lost_and_comes_back(env: SteamEnv, how: str) -> None:
    bot = await env.ready("abaddon")
    await env.sandbox.faults(gc_silent=True)
    since = await env.sandbox.last_event()
    waiting = [asyncio.create_task(match(bot, 6_000_000_700 + n)) for n in range(5)]
    await env.sandbox.wait_journal("match_request", 5, since=since)
    await env.sandbox.faults(gc_down=how)
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(one) for one in outcomes} == {GcUnavailable}
    await bot.wait_event(GcLost)
    with pytest.raises(GcUnavailable):
        await match(bot)
    await env.sandbox.clear_faults()
    await bot.wait_event(GcReady, 2)
    assert await match(bot) == REAL_MATCH
    assert not [one for one in bot.events if isinstance(one, Dropped)]


async def test_pings_of_the_gc_are_answered(env: SteamEnv) -> None:
    since = await env.sandbox.last_event()
    await env.sandbox.faults(gc_ping_every_s=0.005)
    bot = await env.ready("abaddon")
    with pytest.raises(TimeoutError):  # 55 missed ones would end the session
        await env.sandbox.wait_journal("gc_session_lost", since=since, within_s=0.6)
    assert await match(bot) == REAL_MATCH


async def test_requests_before_launch_and_after_close_are_refused(env: SteamEnv) -> None:
    bot = await env.logged_on("abaddon")
    with pytest.raises(GcUnavailable):
        await match(bot)
    await bot.link.close()
    with pytest.raises(SteamUnreachable):
        await match(bot)


async def test_closing_fails_what_waits(env: SteamEnv) -> None:
    bot = await env.ready("abaddon")
    await env.sandbox.faults(gc_silent=True)
    since = await env.sandbox.last_event()
    waiting = [asyncio.create_task(match(bot, 6_000_000_800 + n)) for n in range(5)]
    await env.sandbox.wait_journal("match_request", 5, since=since)
    await bot.link.close()
    await bot.link.close()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(one) for one in outcomes} == {SteamUnreachable}
