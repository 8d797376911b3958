"""One log-on by hand: a person brings a Steam Guard code, and bots use the token from then on."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass, replace
from typing import Final, Protocol

from actors.accounts.lease import Lease
from actors.bot_ports import Pacing
from actors.clock import Clock
from actors.errors import AccountError, LogOnRefused, SteamUnreachable
from actors.log_on_turn import refunded_unless_reached
from actors.logon import KeepsAuth, LogOn, LogOnTimeouts
from actors.steam.port import (
    AuthInterrupted,
    AuthSession,
    AuthState,
    Directory,
    GuardCallback,
    GuardRequest,
    Link,
    LinkEvent,
    LoggedOn,
    Server,
    Steam,
)
from actors.tasks import end
from actors.verdicts import STOPS_IP, judge

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

    async def take(self, account: str, holder: str, *, lease_s: float) -> Lease:
        """Check out one account. Raises NoSuchAccount or AccountInUse."""


@dataclass(frozen=True, slots=True)
class ByHand:
    """Logs accounts on for people. `holder`: who is named as using the account meanwhile."""

    admin: TakesByName
    store: GivesBack
    steam: Steam
    directory: Directory
    pacing: Pacing
    clock: Clock
    rng: random.Random
    holder: str

    async def log_on(self, account: str, on_guard: GuardCallback) -> LoggedOn:
        """Log on with the password, keep what Steam gives, log off, give the account back.

        Raises:
            SteamError, AccountError: why it did not work; the account is given back all the same.
        """
        fence_at = self.clock.now() + LEASE_S - MARGIN_S
        lease = await self.admin.take(account, f"{self.holder}/{account}", lease_s=LEASE_S)
        question = _Question(on_guard)
        try:
            logged_on = await self._until_decided(lease, question, fence_at)
            with contextlib.suppress(AccountError):  # a note; what counts is stored
                await self.pacing.succeeded(logged_on.public_ip)
        except LogOnRefused as refused:
            if judge(refused) in STOPS_IP:
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
