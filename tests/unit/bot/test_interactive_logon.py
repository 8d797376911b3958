"""Interactive log-on: obeys the limiter as bots do, and releases the account in any case."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest
from support.fake_clock import FakeClock, settle
from support.fake_steam import FakeDirectory, FakeLimiter, FakeLink, FakeSteam, FakeStore, Script

from actors.accounts.admin import AccountAdmin
from actors.accounts.models import Lease
from actors.bot.interactive_logon import (
    LEASE_S,
    LEAST_SESSION_S,
    PERSON_S,
    RECONNECT_S,
    InteractiveLogon,
)
from actors.errors import LogOnRefused, SteamUnreachable
from actors.steam.port import (
    FENCED_S,
    AuthInterrupted,
    AuthSession,
    AuthState,
    Credential,
    GuardCallback,
    GuardKind,
    GuardRequest,
    LinkListener,
    Server,
)


class FakeAdmin(AccountAdmin):
    """Checks one account out of a fake store."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store

    async def checkout(self, account: str, holder: str, *, lease_s: float) -> Lease:
        del account, lease_s
        return await self._store.acquire(holder)


async def no_code(_request: GuardRequest) -> str | None:
    return None


@pytest.mark.parametrize("eresult", [84, 87, 105])
async def test_a_limit_met_by_hand_stops_all_log_ons_from_the_ip(
    clock: FakeClock, eresult: int
) -> None:
    script, limiter = Script(), FakeLimiter()
    store = FakeStore(script, ["axe"])
    by_hand = InteractiveLogon(
        admin=FakeAdmin(store),
        store=store,
        network=FakeSteam(script),
        directory=FakeDirectory(),
        limiter=limiter,
        clock=clock,
        rng=random.Random(1),
        holder="hand",
    )
    script.errors["authenticate"] = LogOnRefused("credentials", eresult)
    with pytest.raises(LogOnRefused):
        await by_hand.log_on("axe", no_code)
    assert limiter.limited == 1
    assert store.held == {}


async def test_the_session_ends_by_itself_before_the_lease_does(clock: FakeClock) -> None:
    script = Script()
    store, steam, begun = FakeStore(script, ["axe"]), FakeSteam(script), clock.now()
    by_hand = InteractiveLogon(
        admin=FakeAdmin(store),
        store=store,
        network=steam,
        directory=FakeDirectory(),
        limiter=FakeLimiter(),
        clock=clock,
        rng=random.Random(1),
        holder="hand",
    )
    await by_hand.log_on("axe", no_code)
    assert steam.link is not None
    assert begun < steam.link.fence_at < begun + LEASE_S - FENCED_S


BEGUN = AuthSession(1, b"request", 7, 5.0, ((2, "example.com"),))
BROKEN = SteamUnreachable("session", "the server closed")
EXPIRED = LogOnRefused("credentials", 27)


class Mail:
    """A log-on that waits for a person; `outcomes`: of each connection."""

    def __init__(self, clock: FakeClock, outcomes: list[Exception | None]) -> None:
        self.script, self.limiter, self.clock = Script(), FakeLimiter(), clock
        self.asked: list[GuardRequest] = []
        self.given_up = 0
        self.outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._outcomes = iter(outcomes)
        self.store = FakeStore(self.script, ["axe"])
        self.directory = FakeDirectory(self.script)
        by_hand = InteractiveLogon(
            admin=FakeAdmin(self.store),
            store=self.store,
            network=WaitingSteam(self.script, self),
            directory=self.directory,
            limiter=self.limiter,
            clock=clock,
            rng=random.Random(1),
            holder="hand",
        )
        self.running = asyncio.create_task(by_hand.log_on("axe", self))

    async def __call__(self, request: GuardRequest) -> str | None:
        self.asked.append(request)
        try:
            return await asyncio.Event().wait() and None
        finally:
            self.given_up += 1

    def outcomes(self) -> Iterator[Exception | None]:
        return self._outcomes

    async def lasts(self, seconds: float) -> None:
        """Let the authentication last `seconds`, then have its next outcome."""
        await settle()
        await self.clock.advance(seconds)
        due, self.outcome = self.outcome, asyncio.get_running_loop().create_future()
        due.set_result(None)
        await settle()


class WaitingSteam(FakeSteam):
    """Requests a code over every link, until the test's next outcome."""

    def __init__(self, script: Script, mail: Mail) -> None:
        super().__init__(script)
        self._mail = mail

    async def open(self, server: Server, listener: LinkListener, *, timeout_s: float) -> FakeLink:
        await super().open(server, listener, timeout_s=timeout_s)
        return WaitingLink(self._script, listener, self._mail)


class WaitingLink(FakeLink):
    """See `WaitingSteam`."""

    def __init__(self, script: Script, listener: LinkListener, mail: Mail) -> None:
        super().__init__(script, listener)
        self._mail = mail

    async def authenticate(
        self,
        credential: Credential,
        guard_data: str | None,
        on_guard: GuardCallback,
        *,
        timeout_s: float,
        resume: AuthSession | None = None,
    ) -> AuthState:
        request = GuardRequest(credential.account, GuardKind.EMAIL, "example.com", 1)
        asking = asyncio.ensure_future(on_guard(request))
        try:
            await asyncio.shield(self._mail.outcome)
        finally:
            asking.cancel()
        if (error := next(self._mail.outcomes())) is not None:
            self._script.resumed.append(resume)
            raise error
        return await super().authenticate(
            credential, guard_data, on_guard, timeout_s=timeout_s, resume=resume
        )


async def test_one_begin_and_one_question_outlast_every_connection(clock: FakeClock) -> None:
    broken = AuthInterrupted(BEGUN, BROKEN)
    mail = Mail(clock, [broken, broken, None])
    for _ in range(2):
        await mail.lasts(60.0)
        await clock.advance(2 * RECONNECT_S)
    await mail.lasts(60.0)
    assert (await mail.running).steam_id == 7
    assert mail.script.resumed == [None, BEGUN, BEGUN]
    assert (len(mail.asked), mail.given_up) == (1, 1)
    assert mail.limiter.asked == [True]  # one log-on, however many connections
    assert len(mail.directory.bad) == 2


async def test_a_cm_that_does_not_answer_ends_no_authentication(clock: FakeClock) -> None:
    mail = Mail(clock, [AuthInterrupted(BEGUN, BROKEN), None])
    await mail.lasts(60.0)
    mail.script.errors["open"] = SteamUnreachable("connect", "refused")
    await clock.advance(RECONNECT_S)
    await clock.advance(2 * RECONNECT_S)
    await mail.lasts(1.0)
    assert (await mail.running).steam_id == 7
    assert mail.script.resumed == [None, BEGUN]
    assert mail.limiter.refunded == []  # it reached Steam before


async def test_an_authentication_that_expires_is_begun_again_while_a_person_looks(
    clock: FakeClock,
) -> None:
    mail = Mail(clock, [EXPIRED, None])
    await mail.lasts(LEAST_SESSION_S)
    await mail.lasts(LEAST_SESSION_S)
    assert (await mail.running).steam_id == 7
    assert mail.script.resumed == [None, None]
    assert [one.is_renewed for one in mail.asked] == [False, True]
    assert mail.limiter.asked == [True, True]  # another log-on, counted by the limiter


@pytest.mark.parametrize("lasted_s", [1.0, LEAST_SESSION_S - 1.0, PERSON_S])
async def test_it_is_not_begun_again_too_soon_nor_too_late(
    clock: FakeClock, lasted_s: float
) -> None:
    mail = Mail(clock, [EXPIRED])
    await mail.lasts(lasted_s)
    with pytest.raises(LogOnRefused):
        await mail.running
    assert mail.given_up == 1
    assert mail.store.held == {}


async def test_a_person_is_waited_for_no_longer_than_promised(clock: FakeClock) -> None:
    mail = Mail(clock, [AuthInterrupted(BEGUN, BROKEN)])
    await mail.lasts(PERSON_S)
    with pytest.raises(SteamUnreachable):
        await mail.running
    assert mail.store.held == {}
