"""Codes brought to log-ons that wait for them, early, late, wrong or never."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import structlog
from support.fake_clock import FakeClock, settle

from actors.bot.interactive_logon import InteractiveLogon
from actors.bot.steam_guard import CODE_S, SteamGuard, _Pending
from actors.errors import ActorStopped, LogOnRefused, NeedsHuman, NoSuchAccount
from actors.steam.port import GuardCallback, GuardKind, GuardRequest, LoggedOn

pytestmark = pytest.mark.usefixtures("no_leaks")


LOGGED_ON = LoggedOn(1, "192.0.2.1", 5, 9.0, "192.0.2.1")


class Steam(InteractiveLogon):
    """Logs on by hand: asks for codes until the right one comes, or fails with `refusal` then."""

    def __init__(self) -> None:
        self.right: str | None = "GOOD5"
        self.asked: list[str] = []
        self.begun = 0
        self.kind = GuardKind.EMAIL
        self.held: asyncio.Event | None = None  # what it waits for before it asks
        self.refusal: LogOnRefused | None = None

    async def log_on(self, account: str, on_guard: GuardCallback) -> LoggedOn:
        self.begun += 1
        if account == "absent":
            raise NoSuchAccount(account)
        if self.held is not None:
            await self.held.wait()
        attempt = 0
        while self.right is not None:
            attempt += 1
            code = await on_guard(GuardRequest(account, self.kind, "m***@example.org", attempt))
            self.asked.append(str(code))
            if code is None:
                raise NeedsHuman(account, "a Steam Guard code")
            if self.refusal is not None:
                raise self.refusal
            if code == self.right:
                break
        return LOGGED_ON


@dataclass
class SteamGuardEnv:
    clock: FakeClock
    steam: Steam
    service: SteamGuard

    def submit(self, account: str, code: str | None = None) -> asyncio.Task[str | None]:
        return asyncio.create_task(self.service.submit(account, code))


@pytest.fixture
async def env(clock: FakeClock) -> AsyncIterator[SteamGuardEnv]:
    steam = Steam()
    service = SteamGuard(steam, clock=clock, log=structlog.get_logger())
    await service.start()
    running = asyncio.create_task(service.run())
    yield SteamGuardEnv(clock, steam, service)
    service.stop()
    await running


async def test_without_a_code_it_says_which_is_wanted_and_where(env: SteamGuardEnv) -> None:
    outcome = await env.submit("mail")
    assert outcome == (
        "the Steam Guard code from the e-mail that Steam has just sent (to m***@example.org)"
    )
    assert (await env.submit("mail", "GOOD5")) is None
    assert env.steam.begun == 1


async def test_a_code_of_the_app_that_is_brought_along_is_used(env: SteamGuardEnv) -> None:
    env.steam.kind = GuardKind.DEVICE
    assert await env.submit("phone", "GOOD5") is None


async def test_a_mailed_code_that_is_brought_along_is_of_an_earlier_mail(
    env: SteamGuardEnv,
) -> None:
    """Each log-on sends a mail of its own: to show the older code to Steam would cost an attempt."""
    outcome = await env.submit("mail", "OLDER")
    assert outcome == (
        "that code is of an earlier log-on; the Steam Guard code from the e-mail that Steam has "
        "just sent (to m***@example.org)"
    )
    assert (await env.submit("mail", "GOOD5")) is None
    assert env.steam.asked == ["GOOD5"]
    assert env.steam.begun == 1


async def test_a_code_that_comes_before_it_is_asked_for_is_kept(env: SteamGuardEnv) -> None:
    held = env.steam.held = asyncio.Event()
    begins = env.submit("mail")
    await settle()
    early = await env.submit("mail", "GOOD5")
    assert early == "a moment: a log-on is under way"
    held.set()
    assert (await begins) is None
    assert env.steam.asked == ["GOOD5"]


async def test_a_wrong_code_is_said_to_be_one_and_another_may_follow(env: SteamGuardEnv) -> None:
    await env.submit("mail")
    outcome = await env.submit("mail", "WRONG")
    assert outcome is not None
    assert outcome.startswith("that code was wrong; ")
    assert (await env.submit("mail", "GOOD5")) is None
    assert env.steam.asked == ["WRONG", "GOOD5"]


async def test_asking_twice_begins_one_log_on(env: SteamGuardEnv) -> None:
    first = await env.submit("mail")
    assert await env.submit("mail") == first
    assert env.steam.begun == 1


async def test_two_accounts_do_not_wait_for_each_other(env: SteamGuardEnv) -> None:
    await env.submit("mail")
    await env.submit("other")
    assert (await env.submit("other", "GOOD5")) is None
    assert (await env.submit("mail", "GOOD5")) is None


async def test_a_log_on_that_gets_no_code_ends(env: SteamGuardEnv) -> None:
    await env.submit("mail")
    await env.clock.advance(CODE_S)
    assert env.steam.asked == ["None"]
    await env.submit("mail")
    assert env.steam.begun == 2


async def test_an_account_that_needs_no_code_is_simply_logged_on(env: SteamGuardEnv) -> None:
    env.steam.right = None
    assert (await env.submit("plain")) is None


async def test_a_log_on_that_fails_says_why(env: SteamGuardEnv) -> None:
    with pytest.raises(NoSuchAccount):
        await env.submit("absent")
    with pytest.raises(NoSuchAccount):  # and leaves nothing behind
        await env.submit("absent")


async def test_a_refusal_after_the_code_reaches_who_brought_it(env: SteamGuardEnv) -> None:
    env.steam.kind = GuardKind.DEVICE
    env.steam.refusal = LogOnRefused("credentials", 84)
    with pytest.raises(LogOnRefused):
        await env.submit("mail", "12345")


async def test_a_stop_ends_the_log_ons_and_their_requests(env: SteamGuardEnv) -> None:
    env.steam.held = asyncio.Event()
    waits = env.submit("mail")
    await settle()
    env.service.stop()
    with pytest.raises(ActorStopped):
        await waits
    with pytest.raises(ActorStopped):
        await env.submit("mail")


def test_a_code_is_in_no_repr() -> None:
    assert "GOOD5" not in repr(_Pending("mail", "GOOD5"))
