"""Codes brought to log-ons that wait for them, early, late, wrong or never."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import structlog
from support.fake_clock import FakeClock, settle

from actors.bot.steam_guard import CODE_S, InteractiveLogon, SteamGuard, _Pending
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
class Stage:
    clock: FakeClock
    steam: Steam
    service: SteamGuard

    def submit(self, account: str, code: str | None = None) -> asyncio.Task[str | None]:
        return asyncio.create_task(self.service.submit(account, code))


@pytest.fixture
async def stage(clock: FakeClock) -> AsyncIterator[Stage]:
    steam = Steam()
    service = SteamGuard(steam, clock=clock, log=structlog.get_logger())
    await service.start()
    running = asyncio.create_task(service.run())
    yield Stage(clock, steam, service)
    service.stop()
    await running


async def test_without_a_code_it_says_which_is_wanted_and_where(stage: Stage) -> None:
    outcome = await stage.submit("mail")
    assert outcome == (
        "the Steam Guard code from the e-mail that Steam has just sent (to m***@example.org)"
    )
    assert (await stage.submit("mail", "GOOD5")) is None
    assert stage.steam.begun == 1


async def test_a_code_of_the_app_that_is_brought_along_is_used(stage: Stage) -> None:
    stage.steam.kind = GuardKind.DEVICE
    assert await stage.submit("phone", "GOOD5") is None


async def test_a_mailed_code_that_is_brought_along_is_of_an_earlier_mail(stage: Stage) -> None:
    """Each log-on sends a mail of its own: to show the older code to Steam would cost an attempt."""
    outcome = await stage.submit("mail", "OLDER")
    assert outcome == (
        "that code is of an earlier log-on; the Steam Guard code from the e-mail that Steam has "
        "just sent (to m***@example.org)"
    )
    assert (await stage.submit("mail", "GOOD5")) is None
    assert stage.steam.asked == ["GOOD5"]
    assert stage.steam.begun == 1


async def test_a_code_that_comes_before_it_is_asked_for_is_kept(stage: Stage) -> None:
    held = stage.steam.held = asyncio.Event()
    begins = stage.submit("mail")
    await settle()
    early = await stage.submit("mail", "GOOD5")
    assert early == "a moment: a log-on is under way"
    held.set()
    assert (await begins) is None
    assert stage.steam.asked == ["GOOD5"]


async def test_a_wrong_code_is_said_to_be_one_and_another_may_follow(stage: Stage) -> None:
    await stage.submit("mail")
    outcome = await stage.submit("mail", "WRONG")
    assert outcome is not None
    assert outcome.startswith("that code was wrong; ")
    assert (await stage.submit("mail", "GOOD5")) is None
    assert stage.steam.asked == ["WRONG", "GOOD5"]


async def test_asking_twice_begins_one_log_on(stage: Stage) -> None:
    first = await stage.submit("mail")
    assert await stage.submit("mail") == first
    assert stage.steam.begun == 1


async def test_two_accounts_do_not_wait_for_each_other(stage: Stage) -> None:
    await stage.submit("mail")
    await stage.submit("other")
    assert (await stage.submit("other", "GOOD5")) is None
    assert (await stage.submit("mail", "GOOD5")) is None


async def test_a_log_on_that_gets_no_code_ends(stage: Stage) -> None:
    await stage.submit("mail")
    await stage.clock.advance(CODE_S)
    assert stage.steam.asked == ["None"]
    await stage.submit("mail")
    assert stage.steam.begun == 2


async def test_an_account_that_needs_no_code_is_simply_logged_on(stage: Stage) -> None:
    stage.steam.right = None
    assert (await stage.submit("plain")) is None


async def test_a_log_on_that_fails_says_why(stage: Stage) -> None:
    with pytest.raises(NoSuchAccount):
        await stage.submit("absent")
    with pytest.raises(NoSuchAccount):  # and leaves nothing behind
        await stage.submit("absent")


async def test_a_refusal_after_the_code_reaches_who_brought_it(stage: Stage) -> None:
    stage.steam.kind = GuardKind.DEVICE
    stage.steam.refusal = LogOnRefused("credentials", 84)
    with pytest.raises(LogOnRefused):
        await stage.submit("mail", "12345")


async def test_a_stop_ends_the_log_ons_and_their_requests(stage: Stage) -> None:
    stage.steam.held = asyncio.Event()
    waits = stage.submit("mail")
    await settle()
    stage.service.stop()
    with pytest.raises(ActorStopped):
        await waits
    with pytest.raises(ActorStopped):
        await stage.submit("mail")


def test_a_code_is_in_no_repr() -> None:
    assert "GOOD5" not in repr(_Pending("mail", "GOOD5"))
