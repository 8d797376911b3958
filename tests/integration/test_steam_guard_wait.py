"""A person answers after the end of the connection: polls, approvals, other connections."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator

import pytest
from support.fake_steam import FakeLimiter, FakeStore, Script
from support.steam_env import ACCOUNTS, WAIT_S, SteamEnv

from actors.accounts.admin import AccountAdmin
from actors.accounts.models import Lease
from actors.bot.interactive_logon import InteractiveLogon
from actors.errors import SteamUnreachable
from actors.steam.auth import normalised_code
from actors.steam.port import AuthInterrupted, Credential, GuardKind, GuardRequest, TransportKind
from bench.sandbox_process import SandboxProcess
from supervisor.clock import SystemClock

pytestmark = pytest.mark.integration

PHONE = {"name": "phone", "password": "app-9", "shared_secret": "c29tZSBzZWNyZXQ="}
PATIENCE_S = 0.8  # of the CM with an idle connection; 60 s in reality
POLL_S = 0.1


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess([*ACCOUNTS, PHONE]) as running:
        yield running


@pytest.fixture
async def env(sandbox: SandboxProcess) -> AsyncIterator[SteamEnv]:
    await sandbox.faults(logon_wait_s=PATIENCE_S, poll_interval_s=POLL_S)
    async with SteamEnv(sandbox, TransportKind.WEBSOCKET) as env:
        yield env
    await sandbox.clear_faults()


class Person:
    """Answers when the test says so; `asked`: the requests."""

    def __init__(self) -> None:
        self.asked: list[GuardRequest] = []
        self.is_over = asyncio.Event()
        self.is_asked = asyncio.Event()
        self._answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def __call__(self, request: GuardRequest) -> str:
        self.asked.append(request)
        self.is_asked.set()
        try:
            return await asyncio.shield(self._answer)
        except asyncio.CancelledError:
            self.is_over.set()
            raise

    def answer(self, code: str) -> None:
        self._answer.set_result(code)


class FakeAdmin(AccountAdmin):
    """Checks any account out of a fake store."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store

    async def checkout(self, account: str, holder: str, *, lease_s: float) -> Lease:
        del account, lease_s
        return await self._store.acquire(holder)


class Passwords(FakeStore):
    """A store with the passwords of the sandbox's accounts."""

    async def credential(self, lease: Lease) -> Credential:
        known = {one["name"]: one["password"] for one in [*ACCOUNTS, PHONE]}
        return Credential(lease.account, known[lease.account])


def by_hand(env: SteamEnv, account: str) -> tuple[InteractiveLogon, Passwords]:
    store = Passwords(Script(), [account])
    return InteractiveLogon(
        admin=FakeAdmin(store),
        store=store,
        network=env.network,
        directory=env.directory,
        limiter=FakeLimiter(),
        clock=SystemClock(),
        rng=random.Random(1),
        holder="hand",
    ), store


async def newest_code(env: SteamEnv, account: str = "mail") -> str:
    return str((await env.sandbox.mailbox(account))[-1]["code"])


async def test_a_code_comes_later_than_the_cm_waits_for_a_silent_connection(env: SteamEnv) -> None:
    since = await env.sandbox.last_event()
    person, bot = Person(), await env.open("mail")
    running = asyncio.create_task(bot.authenticate(person))
    await person.is_asked.wait()
    # Only the passage of time is tested here.
    await asyncio.sleep(2 * PATIENCE_S)
    person.answer(await newest_code(env))
    assert (await running).refresh_token
    assert await env.sandbox.journal("connection_closed", since=since) == []


async def test_an_approval_in_the_app_ends_the_wait_for_a_code(env: SteamEnv) -> None:
    person, bot = Person(), await env.open("phone")
    bot.account = PHONE | {"shared_secret": None}
    running = asyncio.create_task(bot.authenticate(person))
    await person.is_asked.wait()
    assert person.asked[0].kind is GuardKind.DEVICE
    await env.sandbox.call("POST", "/auth/decide", {"account": "phone", "approve": True})
    assert (await running).refresh_token
    async with asyncio.timeout(WAIT_S):
        await person.is_over.wait()  # the question is cancelled


@pytest.mark.parametrize("mode", ["close", "reset", "mid_message", "patience"])
async def test_an_authentication_continues_over_another_connection(
    env: SteamEnv, mode: str
) -> None:
    since = await env.sandbox.last_event()
    if mode == "patience":  # of the CM: where polls do not keep the connection
        await env.sandbox.faults(poll_interval_s=30)
    person, bot = Person(), await env.open("mail")
    running = asyncio.create_task(bot.authenticate(person))
    await person.is_asked.wait()
    if mode != "patience":
        await env.sandbox.drop(mode)
    with pytest.raises(AuthInterrupted) as interrupted:
        await running
    async with asyncio.timeout(WAIT_S):
        await person.is_over.wait()
    again = await env.open("mail")

    async def code(_: GuardRequest) -> str:
        return await newest_code(env)

    auth = await again.link.authenticate(
        again.credential, None, code, timeout_s=WAIT_S, resume=interrupted.value.session
    )
    assert auth.refresh_token
    assert len(await env.sandbox.journal("credentials_begun", since=since)) == 1


async def test_a_log_on_by_hand_asks_once_whatever_happens_to_its_connections(
    env: SteamEnv,
) -> None:
    since = await env.sandbox.last_event()
    hand, store = by_hand(env, "mail")
    person = Person()
    running = asyncio.create_task(hand.log_on("mail", person))
    await person.is_asked.wait()
    for count in (2, 3):
        await env.sandbox.drop()
        await env.sandbox.wait_journal("client_hello", count, since=since)
    code = await newest_code(env)
    person.answer(f" {code[:3].lower()} {code[3:].lower()} ")
    assert (await running).steam_id
    assert len(person.asked) == 1
    assert len(await env.sandbox.journal("credentials_begun", since=since)) == 1
    assert store.auth["mail"].refresh_token
    assert store.held == {}


async def test_a_code_that_was_shown_just_before_the_connection_broke_is_not_asked_for_again(
    env: SteamEnv,
) -> None:
    since = await env.sandbox.last_event()
    person, bot = Person(), await env.open("mail")
    running = asyncio.create_task(bot.authenticate(person))
    await person.is_asked.wait()
    begun = (await env.sandbox.mailbox("mail"))[-1]["code"]
    await env.sandbox.drop()
    with pytest.raises(AuthInterrupted) as interrupted:
        await running
    session = interrupted.value.session
    other = await env.open("mail")  # on which the code arrives, and whose answer is lost

    async def code(_: GuardRequest) -> str:
        return str(begun)

    await env.sandbox.faults(poll_interval_s=POLL_S, slow_ms=300)
    lost = asyncio.create_task(
        other.link.authenticate(other.credential, None, code, timeout_s=WAIT_S, resume=session)
    )
    await env.sandbox.wait_journal("guard_code", since=since, eresult=1)
    await env.sandbox.drop("reset")
    with pytest.raises(AuthInterrupted) as interrupted:
        await lost
    await env.sandbox.clear_faults()
    third = await env.open("mail")
    session = interrupted.value.session
    auth = await third.link.authenticate(
        third.credential, None, code, timeout_s=WAIT_S, resume=session
    )
    assert auth.refresh_token


async def test_a_server_that_is_silent_is_not_taken_for_a_person_who_is(env: SteamEnv) -> None:
    person, bot = Person(), await env.open("mail")
    running = asyncio.create_task(
        bot.link.authenticate(bot.credential, None, person, timeout_s=2 * PATIENCE_S)
    )
    await person.is_asked.wait()
    await env.sandbox.drop("half_open")
    with pytest.raises(SteamUnreachable):
        await running


@pytest.mark.parametrize("typed", ["R2D2X", "r2d2x", " r2d 2x ", "R2D2X\n", "r2\td2\u00a0x"])
def test_codes_are_sent_normalised_code_them(typed: str) -> None:
    assert normalised_code(typed) == "R2D2X"
