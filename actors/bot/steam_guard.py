"""Interactive log-on with Steam Guard codes.

A bot that needs a code has said so and taken another account. Here a person (through the admin API)
brings the code: a log-on is begun for the account, waits for the code if it has none yet, and ends with a
token in Redis. From then on any bot can use the account.

    SubmitGuard(account, code) -> logged on, or: a code is wanted (again), and where it is to be found
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from structlog.typing import FilteringBoundLogger

from actors.accounts.models import Lease
from actors.actor import Actor, Address, Ask, Envelope, Reply
from actors.bot.eresults import STOPS_IP, classify
from actors.bot.logon import LogOn, refunded_unless_reached
from actors.bot.ports import KeepsAuth, Limiter, LogOnTimeouts
from actors.clock import Clock, end
from actors.errors import AccountError, LogOnRefused, ServiceError, SteamUnreachable
from actors.steam.port import (
    AuthInterrupted,
    AuthSession,
    AuthState,
    Directory,
    GuardCallback,
    GuardKind,
    GuardRequest,
    Link,
    LinkEvent,
    LoggedOn,
    Server,
    Steam,
)

PERSON_S: Final = 600.0  # to find the mail, the phone or the glasses
LEASE_S: Final = 900.0  # never renewed: a person, and what comes before and after
MARGIN_S: Final = 8.0  # of it, for the log-off
CONNECT_S: Final = 15.0
LOG_OFF_S: Final = 4.0
TURN_JITTER_S: Final = 0.5
# Before an authentication continues over another connection; twice as long each time.
RECONNECT_S: Final = 1.0
LONGEST_RECONNECT_S: Final = 30.0
SESSION_EXPIRED: Final = 27  # EResult: Steam gives an authentication up after some minutes
# An authentication that lasted less is not begun again: each Begin sends another e-mail.
LEAST_SESSION_S: Final = 120.0


class GivesBack(KeepsAuth, Protocol):
    """What this needs of the store."""

    async def release(self, lease: Lease) -> None:
        """Give the account back."""


class TakesByName(Protocol):
    """What this needs of the operator's view of the accounts."""

    async def checkout(self, account: str, holder: str, *, lease_s: float) -> Lease:
        """Check out one account. Raises NoSuchAccount or AccountInUse."""


@dataclass(frozen=True, slots=True)
class InteractiveLogon:
    """Logs accounts on for people. `holder`: who is named as using the account meanwhile."""

    admin: TakesByName
    store: GivesBack
    steam: Steam
    directory: Directory
    pacing: Limiter
    clock: Clock
    rng: random.Random
    holder: str

    async def log_on(self, account: str, on_guard: GuardCallback) -> LoggedOn:
        """Log on with the password, keep what Steam gives, log off, give the account back.

        Raises:
            SteamError, AccountError: why it did not work; the account is given back all the same.
        """
        fence_at = self.clock.now() + LEASE_S - MARGIN_S
        lease = await self.admin.checkout(account, f"{self.holder}/{account}", lease_s=LEASE_S)
        question = _Question(on_guard)
        try:
            logged_on = await self._until_decided(lease, question, fence_at)
            with contextlib.suppress(AccountError):  # a note; what counts is stored
                await self.pacing.succeeded(logged_on.public_ip)
        except LogOnRefused as refused:
            if classify(refused) in STOPS_IP:
                await self.pacing.was_limited()
            raise
        else:
            return logged_on
        finally:
            await question.close()
            await self.store.release(lease)

    async def _until_decided(self, lease: Lease, question: _Question, fence_at: float) -> LoggedOn:
        """Log on, over as many connections as it takes while a person looks for the code."""
        await self._wait_for_turn()
        began = self.clock.now()
        until, session, pause_s = began + PERSON_S, None, RECONNECT_S
        while True:
            try:
                server, link = await self._connect(has_begun=session is not None)
            except SteamUnreachable:
                if session is None or self.clock.now() >= until:
                    raise
                pause_s = await self._pause(pause_s)
                continue
            try:
                link.set_fence(fence_at)
                return await self._once(link, lease, question, until, session)
            except AuthInterrupted as broken:
                if self.clock.now() >= until:
                    raise
                self.directory.mark_bad(server)
                session = broken.session
            except LogOnRefused as refused:
                lasted_s = self.clock.now() - began
                is_expired = refused.eresult == SESSION_EXPIRED and question.is_asked
                if not is_expired or lasted_s < LEAST_SESSION_S or self.clock.now() >= until:
                    raise
                session = None
            finally:
                await link.close()
            if session is None:
                await question.renew()
                await self._wait_for_turn()
                began = self.clock.now()
            else:
                pause_s = await self._pause(pause_s)

    async def _pause(self, seconds: float) -> float:
        """Wait before the next connection; return how long to wait the next time."""
        await self.clock.sleep(seconds)
        return min(2 * seconds, LONGEST_RECONNECT_S)

    async def _wait_for_turn(self) -> None:
        """A person is as polite to Steam as a bot.

        Raises:
            SteamUnreachable: Steam has had enough of our address for a while.
        """
        while (wait := await self.pacing.ask(with_password=True)) is not None:
            if wait.reason == "rate-limit":
                minutes = wait.seconds / 60
                raise SteamUnreachable(
                    "logon", f"too many log-ons from here; try again in {minutes:.0f} minutes"
                )
            await self.clock.sleep(wait.seconds + self.rng.random() * TURN_JITTER_S)

    async def _connect(self, *, has_begun: bool) -> tuple[Server, Link]:
        """Open a connection. `has_begun`: for an authentication that has had its turn to log on."""
        turn = refunded_unless_reached(self.pacing, with_password=True)
        async with contextlib.nullcontext() if has_begun else turn:
            server = await self.directory.pick()
            try:
                return server, await self.steam.open(server, _nothing, timeout_s=CONNECT_S)
            except SteamUnreachable:
                self.directory.mark_bad(server)
                raise

    async def _once(
        self,
        link: Link,
        lease: Lease,
        question: _Question,
        until: float,
        session: AuthSession | None,
    ) -> LoggedOn:
        """Use one connection. `session`: what was begun over an earlier one."""
        stored = await self.store.load_auth(lease)
        # The token that is stored stays until there is a newer one; here it just is not used.
        auth = stored and AuthState(stored.steam_id, "", stored.guard_data)
        timeouts = LogOnTimeouts(credentials_s=until - self.clock.now())
        log_on = LogOn(self.store, question.ask, clock=self.clock, timeouts=timeouts)
        logged_on, _ = await log_on.run(link, lease, auth, resume=session)
        with contextlib.suppress(AccountError):  # as above
            await self.store.note_logon(lease)
        await link.log_off(timeout_s=LOG_OFF_S)
        return logged_on


class _Question:
    """One question to a person at a time, however many connections ask it."""

    def __init__(self, on_guard: GuardCallback) -> None:
        self._on_guard = on_guard
        self._asked: GuardRequest | None = None
        self._asking: asyncio.Task[str | None] | None = None
        self._is_renewed = False

    @property
    def is_asked(self) -> bool:
        """Whether a person is asked, or has answered."""
        return self._asking is not None

    async def ask(self, request: GuardRequest) -> str | None:
        """Return the answer; a request that was made before is not put to the person again."""
        request = replace(request, is_renewed=self._is_renewed)
        if self._asking is None or request != self._asked:
            await self.close()
            self._asked = request
            self._asking = asyncio.ensure_future(self._on_guard(request))
        return await asyncio.shield(self._asking)

    async def renew(self) -> None:
        """Forget the answer: from now on another code is wanted."""
        await self.close()
        self._is_renewed = True

    async def close(self) -> None:
        """Ask no more."""
        asking, self._asking = self._asking, None
        if asking is not None:
            await end(asking)


def _nothing(_event: LinkEvent) -> None:
    """Whatever happens to the link is seen by who waits for it."""


CODE_S: Final = 600.0  # to find the mail, the phone or the glasses; Steam waits about as long
WHERE: Final = {
    GuardKind.EMAIL: "the e-mail that Steam has just sent",
    GuardKind.DEVICE: "the mobile app, or an approval there",
}


@dataclass(frozen=True, slots=True)
class GuardOutcome:
    """`need`: what is wanted now, in words; None when the account is logged on."""

    account: str
    need: str | None


@dataclass(frozen=True, slots=True)
class SubmitGuard(Ask[GuardOutcome]):
    """HTTP -> desk: log this account on, with the code if there is one already.

    Fails with the ServiceError that ended the log-on.
    """

    account: str
    code: str | None = field(default=None, repr=False)


LogsOnByHand = Callable[[str, GuardCallback], Awaitable[object]]


@dataclass(slots=True)
class _Pending:
    """One log-on under way."""

    account: str
    code: str | None  # brought, and not asked for yet
    is_early: bool  # that code was brought before this log-on began
    reply: Reply[GuardOutcome] | None  # who waits for what becomes of it
    wanted: asyncio.Future[str | None] | None = None  # Steam waits for a code
    need: str | None = None
    task: asyncio.Task[None] | None = None


class GuardDesk(Actor[SubmitGuard]):
    """Actor that logs accounts on by hand. `log_on`: runs one log-on with a callback for the code."""

    def __init__(
        self,
        log_on: LogsOnByHand,
        *,
        address: Address[SubmitGuard],
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        super().__init__(address, clock=clock)
        self._log_on = log_on
        self._clock = clock
        self._log = log.bind(actor="guard_desk")
        self._pending: dict[str, _Pending] = {}

    async def run(self) -> None:
        """Serve until stopped; log-ons that still wait for a person end then."""
        try:
            await super().run()
        finally:
            tasks = [one.task for one in self._pending.values() if one.task is not None]
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    async def handle(self, envelope: Envelope[SubmitGuard]) -> None:
        """Begin a log-on, or bring its code to the one that waits."""
        submit, reply = envelope.message, envelope.reply
        pending = self._pending.get(submit.account)
        if pending is None:
            pending = self._pending[submit.account] = _Pending(
                submit.account, submit.code, is_early=True, reply=reply
            )
            pending.task = asyncio.create_task(self._run(pending), name=f"guard-{submit.account}")
        elif submit.code is None:
            self._say_what_is_wanted(pending, reply)
        elif pending.wanted is None:  # Steam is about to ask, or checks another code
            pending.code, pending.is_early = submit.code, False
            if pending.reply is None:
                pending.reply = reply
            else:
                self._say_what_is_wanted(pending, reply)
        else:
            pending.reply = reply
            pending.wanted.set_result(submit.code)
            pending.wanted = None

    async def _run(self, pending: _Pending) -> None:
        async def ask(request: GuardRequest) -> str | None:
            return await self._ask(pending, request)

        try:
            await self._log_on(pending.account, ask)
        except ServiceError as error:
            self._log.warning("guard_log_on_failed", account=pending.account, reason=str(error))
            self._answer(pending, error)
        else:
            self._log.info("guard_log_on_succeeded", account=pending.account)
            self._answer(pending, GuardOutcome(pending.account, None))
        finally:
            del self._pending[pending.account]

    async def _ask(self, pending: _Pending, request: GuardRequest) -> str | None:
        """Steam wants a code: the one that was brought along, or the next that is brought.

        A code from an e-mail is good for the log-on that this mail is about. One that was brought before
        the log-on began, which has sent another mail, is not shown to Steam: it would count as wrong.
        """
        code, pending.code = pending.code, None
        is_stale = code is not None and pending.is_early and request.kind is GuardKind.EMAIL
        if code is not None and not is_stale:
            return code
        pending.need = _need(request, is_stale=is_stale)
        wanted: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        pending.wanted = wanted
        self._answer(pending, GuardOutcome(pending.account, pending.need))
        alarm = self._clock.call_at(self._clock.now() + CODE_S, lambda: _give_up(wanted))
        try:
            return await wanted
        finally:
            alarm.cancel()
            pending.wanted = None

    def _answer(self, pending: _Pending, outcome: GuardOutcome | ServiceError) -> None:
        reply, pending.reply = pending.reply, None
        if reply is None:
            return
        if isinstance(outcome, ServiceError):
            reply.fail(outcome)
        else:
            reply.set(outcome)

    def _say_what_is_wanted(self, pending: _Pending, reply: Reply[GuardOutcome] | None) -> None:
        """Answer an order for an account whose log-on runs already."""
        if reply is None:
            return
        if pending.wanted is not None:
            reply.set(GuardOutcome(pending.account, pending.need))
        else:
            reply.set(GuardOutcome(pending.account, "a moment: a log-on is under way"))


def _need(request: GuardRequest, *, is_stale: bool) -> str:
    again = "that code was wrong; " if request.attempt > 1 else ""
    if request.is_renewed or is_stale:
        again = "that code is of an earlier log-on; " if is_stale else "the time is over; "
    hint = f" (to {request.hint})" if request.hint else ""
    return f"{again}the Steam Guard code from {WHERE[request.kind]}{hint}"


def _give_up(wanted: asyncio.Future[str | None]) -> None:
    if not wanted.done():
        wanted.set_result(None)
