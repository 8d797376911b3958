"""Codes brought to log-ons that wait for them, early, late, wrong or never."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import structlog
from support.fake_clock import FakeClock, settle

from actors.bot.steam_guard import CODE_S, GuardOutcome, SteamGuard, _Pending
from actors.errors import ActorStopped, LogOnRefused, NeedsHuman, NoSuchAccount
from actors.steam.port import GuardCallback, GuardKind, GuardRequest

pytestmark = pytest.mark.usefixtures("no_leaks")


@dataclass
class Steam:
    """Logs on by hand: asks for codes until the right one comes."""

    right: str | None = "GOOD5"
    asked: list[str] = field(default_factory=list)
    begun: int = 0
    kind: GuardKind = GuardKind.EMAIL
    held: asyncio.Event | None = None  # what it waits for before it asks

    async def log_on(self, account: str, ask: GuardCallback) -> object:
        self.begun += 1
        if account == "absent":
            raise NoSuchAccount(account)
        if self.held is not None:
            await self.held.wait()
        attempt = 0
        while self.right is not None:
            attempt += 1
            code = await ask(GuardRequest(account, self.kind, "m***@example.org", attempt))
            self.asked.append(str(code))
            if code is None:
                raise NeedsHuman(account, "a Steam Guard code")
            if code == self.right:
                break
        return account


@dataclass
class Stage:
    clock: FakeClock
    steam: Steam
    service: SteamGuard

    def submit(self, account: str, code: str | None = None) -> asyncio.Task[GuardOutcome]:
        return asyncio.create_task(self.service.submit(account, code))


@pytest.fixture
async def stage(clock: FakeClock) -> AsyncIterator[Stage]:
    steam = Steam()
    service = SteamGuard(steam.log_on, clock=clock, log=structlog.get_logger())
    await service.start()
    running = asyncio.create_task(service.run())
    yield Stage(clock, steam, service)
    service.stop()
    await running


async def test_without_a_code_it_says_which_is_wanted_and_where(stage: Stage) -> None:
    outcome = await stage.submit("mail")
    assert outcome.need == (
        "the Steam Guard code from the e-mail that Steam has just sent (to m***@example.org)"
    )
    assert (await stage.submit("mail", "GOOD5")).need is None
    assert stage.steam.begun == 1


async def test_a_code_of_the_app_that_is_brought_along_is_used(stage: Stage) -> None:
    stage.steam.kind = GuardKind.DEVICE
    assert await stage.submit("phone", "GOOD5") == GuardOutcome("phone", None)


async def test_a_mailed_code_that_is_brought_along_is_of_an_earlier_mail(stage: Stage) -> None:
    """Each log-on sends a mail of its own: to show the older code to Steam would cost an attempt."""
    outcome = await stage.submit("mail", "OLDER")
    assert outcome.need == (
        "that code is of an earlier log-on; the Steam Guard code from the e-mail that Steam has "
        "just sent (to m***@example.org)"
    )
    assert (await stage.submit("mail", "GOOD5")).need is None
    assert stage.steam.asked == ["GOOD5"]
    assert stage.steam.begun == 1


async def test_a_code_that_comes_before_it_is_asked_for_is_kept(stage: Stage) -> None:
    held = stage.steam.held = asyncio.Event()
    begins = stage.submit("mail")
    await settle()
    early = await stage.submit("mail", "GOOD5")
    assert early.need == "a moment: a log-on is under way"
    held.set()
    assert (await begins).need is None
    assert stage.steam.asked == ["GOOD5"]


async def test_a_wrong_code_is_said_to_be_one_and_another_may_follow(stage: Stage) -> None:
    await stage.submit("mail")
    outcome = await stage.submit("mail", "WRONG")
    assert outcome.need is not None
    assert outcome.need.startswith("that code was wrong; ")
    assert (await stage.submit("mail", "GOOD5")).need is None
    assert stage.steam.asked == ["WRONG", "GOOD5"]


async def test_asking_twice_begins_one_log_on(stage: Stage) -> None:
    first = await stage.submit("mail")
    assert await stage.submit("mail") == first
    assert stage.steam.begun == 1


async def test_two_accounts_do_not_wait_for_each_other(stage: Stage) -> None:
    await stage.submit("mail")
    await stage.submit("other")
    assert (await stage.submit("other", "GOOD5")).need is None
    assert (await stage.submit("mail", "GOOD5")).need is None


async def test_a_log_on_that_gets_no_code_ends(stage: Stage) -> None:
    await stage.submit("mail")
    await stage.clock.advance(CODE_S)
    assert stage.steam.asked == ["None"]
    await stage.submit("mail")
    assert stage.steam.begun == 2


async def test_an_account_that_needs_no_code_is_simply_logged_on(stage: Stage) -> None:
    stage.steam.right = None
    assert (await stage.submit("plain")).need is None


async def test_a_log_on_that_fails_says_why(stage: Stage) -> None:
    with pytest.raises(NoSuchAccount):
        await stage.submit("absent")
    with pytest.raises(NoSuchAccount):  # and leaves nothing behind
        await stage.submit("absent")


async def test_a_refusal_after_the_code_reaches_who_brought_it(stage: Stage) -> None:
    async def refuse(_account: str, ask: GuardCallback) -> object:
        await ask(GuardRequest("mail", GuardKind.DEVICE, "", 1))
        raise LogOnRefused("credentials", 84)

    service = SteamGuard(refuse, clock=stage.clock, log=structlog.get_logger())
    await service.start()
    running = asyncio.create_task(service.run())
    with pytest.raises(LogOnRefused):
        await service.submit("mail", "12345")
    service.stop()
    await running


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
    assert "GOOD5" not in repr(_Pending("mail", "GOOD5", is_early=True, reply=None))
