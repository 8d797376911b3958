"""Every way in which connections end: waiters fail at once, the listener gets the event."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator

import pytest
from support.steam_env import ACCOUNTS, OpenLink, SteamEnv

from actors.errors import SteamUnreachable
from actors.steam.connection import Connection
from actors.steam.port import Dropped, TransportKind
from bench.sandbox_process import SandboxProcess

pytestmark = pytest.mark.integration
REAL_MATCH = 7490235544
HEARTBEAT_S = 0.25  # only where silence must be detected


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess(ACCOUNTS, ("--quota-account", "1000", "--quota-ip", "9000")) as running:
        yield running


@pytest.fixture(scope="module")
def nervous() -> Iterator[SandboxProcess]:
    with SandboxProcess(ACCOUNTS, ("--heartbeat", str(HEARTBEAT_S))) as running:
        yield running


@pytest.fixture(params=list(TransportKind), ids=str)
async def env(sandbox: SandboxProcess, request: pytest.FixtureRequest) -> AsyncIterator[SteamEnv]:
    async with SteamEnv(sandbox, request.param) as env:
        yield env
    await sandbox.clear_faults()


@pytest.fixture(params=list(TransportKind), ids=str)
async def nervous_env(
    nervous: SandboxProcess,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[SteamEnv]:
    """On the wire a heartbeat has whole seconds; here both sides use less."""
    real = Connection.start_pulse
    monkeypatch.setattr(Connection, "start_pulse", lambda self, _: real(self, HEARTBEAT_S))
    async with SteamEnv(nervous, request.param) as env:
        yield env
    await nervous.clear_faults()


async def waiting_for_matches(env: SteamEnv, bot: OpenLink) -> list[asyncio.Task[bytes]]:
    """Request five matches that the GC does not answer."""
    await env.sandbox.faults(gc_silent=True)
    since = await env.sandbox.last_event()
    tasks = [
        asyncio.create_task(bot.link.request_match(6_000_000_000 + n, timeout_s=60))
        for n in range(5)
    ]
    await env.sandbox.wait_journal("match_request", 5, since=since)
    return tasks


async def all_unreachable(tasks: list[asyncio.Task[bytes]]) -> None:
    async with asyncio.timeout(5):
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(one) for one in outcomes} == {SteamUnreachable}


@pytest.mark.parametrize("mode", ["close", "reset", "mid_message"])
async def test_a_broken_connection_fails_what_waits_and_is_told(env: SteamEnv, mode: str) -> None:
    bot = await env.ready("abaddon")
    waiting = await waiting_for_matches(env, bot)
    assert await env.sandbox.drop(mode) == 1
    await all_unreachable(waiting)
    dropped = await bot.wait_event(Dropped)
    assert dropped.eresult is None
    with pytest.raises(SteamUnreachable):
        await bot.link.request_match(REAL_MATCH, timeout_s=5)
    await bot.link.log_off(timeout_s=4)  # no session, and no error


async def test_a_half_open_connection_is_noticed_within_three_heartbeats(
    nervous_env: SteamEnv,
) -> None:
    env = nervous_env
    bot = await env.ready("abaddon")
    waiting = await waiting_for_matches(env, bot)
    started = asyncio.get_running_loop().time()
    await env.sandbox.drop("half_open")
    await all_unreachable(waiting)
    assert asyncio.get_running_loop().time() - started < 3 * HEARTBEAT_S + 1  # for a slow machine
    assert "silence" in (await bot.wait_event(Dropped)).reason


async def test_a_request_finds_out_that_its_connection_is_half_open(env: SteamEnv) -> None:
    bot = await env.ready("abaddon")
    await env.sandbox.drop("half_open")
    with pytest.raises(SteamUnreachable, match="silence"):  # long before a heartbeat is missed
        await bot.link.request_match(REAL_MATCH, timeout_s=1.5)
    assert "silence" in (await bot.wait_event(Dropped)).reason


async def test_a_silent_gc_is_not_taken_for_a_dead_connection(env: SteamEnv) -> None:
    bot = await env.ready("abaddon")
    await env.sandbox.faults(gc_silent=True)
    with pytest.raises(TimeoutError):
        await bot.link.request_match(REAL_MATCH, timeout_s=1.5)
    await env.sandbox.clear_faults()
    assert len(await bot.link.request_match(REAL_MATCH, timeout_s=5)) > 100
    assert not [one for one in bot.events if isinstance(one, Dropped)]


async def test_unanswered_heartbeats_end_the_session(nervous_env: SteamEnv) -> None:
    bot = await nervous_env.logged_on("abaddon")
    await nervous_env.sandbox.faults(heartbeats_ignored=True)
    assert "silence" in (await bot.wait_event(Dropped)).reason


async def test_an_idle_session_lives_on_heartbeats(nervous_env: SteamEnv) -> None:
    since = await nervous_env.sandbox.last_event()
    bot = await nervous_env.ready("abaddon")
    with pytest.raises(TimeoutError):  # the sandbox ends sessions after three without one
        await nervous_env.sandbox.wait_journal(
            "session_ended", since=since, within_s=HEARTBEAT_S * 4
        )
    assert len(await bot.link.request_match(REAL_MATCH, timeout_s=5)) > 100
    assert not [one for one in bot.events if isinstance(one, Dropped)]


@pytest.mark.parametrize("eresult", [2, 6, 20, 26, 9999])
async def test_being_logged_off_is_told_with_its_result(env: SteamEnv, eresult: int) -> None:
    bot = await env.ready("abaddon")
    waiting = await waiting_for_matches(env, bot)
    await env.sandbox.log_off(eresult)
    await all_unreachable(waiting)
    assert (await bot.wait_event(Dropped)).eresult == eresult
    assert [type(one) for one in bot.events].count(Dropped) == 1


async def test_a_token_revoked_while_online_is_told(env: SteamEnv) -> None:
    bot = await env.logged_on("bane")
    await env.sandbox.revoke("bane", log_off=26)
    assert (await bot.wait_event(Dropped)).eresult == 26


async def test_an_unavailable_server_counts_as_a_drop(env: SteamEnv) -> None:
    bot = await env.ready("abaddon")
    waiting = await waiting_for_matches(env, bot)
    await env.sandbox.call("POST", "/push", {"all": True, "what": "server_unavailable"})
    await all_unreachable(waiting)
    assert (await bot.wait_event(Dropped)).eresult == 20


async def test_a_message_that_never_ends_counts_as_silence(nervous_env: SteamEnv) -> None:
    bot = await nervous_env.logged_on("abaddon")
    await nervous_env.sandbox.call("POST", "/corrupt", {"all": True, "flaw": "length"})
    dropped = await bot.wait_event(Dropped)
    too_large = nervous_env.transport is TransportKind.TCP  # there the length comes first
    assert ("too large" if too_large else "silence") in dropped.reason


@pytest.mark.parametrize(
    "flaw", ["magic", "hmac", "gzip", "unzipped_size", "inner_length", "header"]
)
async def test_garbage_ends_the_connection(env: SteamEnv, flaw: str) -> None:
    bot = await env.ready("abaddon")
    waiting = await waiting_for_matches(env, bot)
    await env.sandbox.call("POST", "/corrupt", {"all": True, "flaw": flaw})
    await all_unreachable(waiting)
    await bot.wait_event(Dropped)


async def test_a_drop_during_launch_ends_the_launch(env: SteamEnv) -> None:
    await env.sandbox.faults(gc_down="silent")
    bot = await env.logged_on("abaddon")
    since = await env.sandbox.last_event()
    launching = asyncio.create_task(bot.link.launch(timeout_s=60))
    await env.sandbox.wait_journal("gc_hello", since=since)
    await env.sandbox.drop("reset")
    with pytest.raises(SteamUnreachable):
        await launching


async def test_a_cancelled_launch_stops_and_the_link_can_be_closed(env: SteamEnv) -> None:
    await env.sandbox.faults(gc_down="silent")
    bot = await env.logged_on("abaddon")
    since = await env.sandbox.last_event()
    launching = asyncio.create_task(bot.link.launch(timeout_s=60))
    await env.sandbox.wait_journal("gc_hello", since=since)
    launching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await launching
    await bot.link.close()
    await env.sandbox.wait_journal("connection_closed", since=since)


async def test_one_connection_that_breaks_does_not_touch_the_others(env: SteamEnv) -> None:
    bots = [await env.ready(name) for name in ("abaddon", "bane")]
    await env.sandbox.drop("reset", accounts=["abaddon"])
    await bots[0].wait_event(Dropped)
    numbers = itertools.count(6_000_001_000)
    for _ in range(5):
        await bots[1].link.request_match(next(numbers), timeout_s=5)
    assert not [one for one in bots[1].events if isinstance(one, Dropped)]
