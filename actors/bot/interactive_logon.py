"""Interactive log-on: a person brings the Steam Guard code, and the token is stored in Redis."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from actors.accounts.admin import AccountAdmin
from actors.accounts.logon_limiter import LogonLimiter
from actors.accounts.models import Lease
from actors.accounts.store import AccountStore
from actors.bot.eresults import classify
from actors.bot.failure_policy import HANDLING
from actors.bot.logon import log_on, refunded_unless_reached
from actors.bot.ports import LOG_OFF_S, LogOnTimeouts
from actors.clock import Clock, backoff_s, end
from actors.errors import AccountError, LogOnRefused, SteamUnreachable
from actors.steam.directory import CmDirectory
from actors.steam.link import SteamNetwork
from actors.steam.port import (
    AuthInterrupted,
    AuthSession,
    AuthState,
    GuardCallback,
    GuardRequest,
    Link,
    LoggedOn,
    Server,
)

PERSON_S: Final = 600.0  # for a person to find the code
LEASE_S: Final = 900.0  # not renewed: PERSON_S and the steps before and after
MARGIN_S: Final = 8.0  # before the end of the lease, for the log-off
CONNECT_S: Final = 15.0
WAIT_JITTER_S: Final = 0.5
# Before an authentication continues over another connection; doubled each time.
RECONNECT_S: Final = 1.0
LONGEST_RECONNECT_S: Final = 30.0
SESSION_EXPIRED: Final = 27  # EResult: Steam ends an authentication after some minutes
# A shorter authentication is not begun again: each begin sends another e-mail.
LEAST_SESSION_S: Final = 120.0


@dataclass
class InteractiveLogon:
    """Logs accounts on with codes from a person. `holder`: named as the user of the account."""

    admin: AccountAdmin
    store: AccountStore
    network: SteamNetwork
    directory: CmDirectory
    limiter: LogonLimiter
    clock: Clock
    rng: random.Random
    holder: str

    async def log_on(self, account: str, on_guard: GuardCallback) -> LoggedOn:
        """Log on with the password, store the auth state, log off, release the account.

        Raises:
            SteamError, AccountError: why it failed; the account is released in any case.
        """
        fence_at = self.clock.now() + LEASE_S - MARGIN_S
        lease = await self.admin.checkout(account, f"{self.holder}/{account}", lease_s=LEASE_S)
        question = _CodeRequest(on_guard)
        try:
            logged_on = await self._until_decided(lease, question, fence_at)
            with contextlib.suppress(AccountError):  # the auth state is stored already
                await self.limiter.succeeded(logged_on.public_ip)
        except LogOnRefused as refused:
            if HANDLING[classify(refused)].stops_ip:
                await self.limiter.was_limited()
            raise
        else:
            return logged_on
        finally:
            await question.close()
            await self.store.release(lease)

    async def _until_decided(
        self, lease: Lease, question: _CodeRequest, fence_at: float
    ) -> LoggedOn:
        """Log on, over as many connections as it takes until the person answers."""
        await self._wait_for_limiter()
        began = self.clock.now()
        until, session = began + PERSON_S, None
        wait = partial(backoff_s, base=RECONNECT_S, cap=LONGEST_RECONNECT_S)
        pauses = map(wait, itertools.count(1))
        while True:
            try:
                server, link = await self._connect(has_begun=session is not None)
            except SteamUnreachable:
                if session is None or self.clock.now() >= until:
                    raise
                await self.clock.sleep(next(pauses))
                continue
            try:
                link.set_fence(fence_at)
                return await self._use_connection(link, lease, question, until, session)
            except AuthInterrupted as broken:
                if self.clock.now() >= until:
                    raise
                self.directory.mark_bad(server)
                session = broken.session
            except LogOnRefused as refused:
                lasted_s = self.clock.now() - began
                is_expired = refused.eresult == SESSION_EXPIRED and question.asking is not None
                if not is_expired or lasted_s < LEAST_SESSION_S or self.clock.now() >= until:
                    raise
                session = None
            finally:
                await link.close()
            if session is None:
                await question.renew()
                await self._wait_for_limiter()
                began = self.clock.now()
            else:
                await self.clock.sleep(next(pauses))

    async def _wait_for_limiter(self) -> None:
        """Wait for the limiter, as bots do.

        Raises:
            SteamUnreachable: Steam limits the log-ons from this address.
        """
        while (wait := await self.limiter.ask(with_password=True)) is not None:
            if wait.reason == "rate-limit":
                minutes = wait.seconds / 60
                raise SteamUnreachable(
                    "logon", f"too many log-ons from here; try again in {minutes:.0f} minutes"
                )
            await self.clock.sleep(wait.seconds + self.rng.random() * WAIT_JITTER_S)

    async def _connect(self, *, has_begun: bool) -> tuple[Server, Link]:
        """Open a connection. `has_begun`: the log-on that the limiter counted has reached Steam."""
        refunded = refunded_unless_reached(self.limiter, with_password=True)
        async with contextlib.nullcontext() if has_begun else refunded:
            server = await self.directory.pick()
            try:
                # Events are ignored: the calls on the link fail.
                return server, await self.network.open(server, lambda _: None, timeout_s=CONNECT_S)
            except SteamUnreachable:
                self.directory.mark_bad(server)
                raise

    async def _use_connection(
        self,
        link: Link,
        lease: Lease,
        question: _CodeRequest,
        until: float,
        session: AuthSession | None,
    ) -> LoggedOn:
        """Log on over one connection. `session`: begun over an earlier one."""
        stored = await self.store.load_auth(lease)
        # Without the stored token, which stays in Redis until there is a newer one.
        auth = stored and AuthState(stored.steam_id, "", stored.guard_data)
        store, clock = self.store, self.clock
        timeouts = LogOnTimeouts(credentials_s=until - clock.now())
        logged_on, _ = await log_on(
            link, lease, auth, store, question.ask, resume=session, clock=clock, timeouts=timeouts
        )
        with contextlib.suppress(AccountError):  # as above
            await store.note_logon(lease)
        await link.log_off(timeout_s=LOG_OFF_S)
        return logged_on


class _CodeRequest:
    """Asks a person once, however many connections ask."""

    def __init__(self, on_guard: GuardCallback) -> None:
        self._on_guard = on_guard
        self._asked: GuardRequest | None = None
        self.asking: asyncio.Task[str | None] | None = None
        self._is_renewed = False

    async def ask(self, request: GuardRequest) -> str | None:
        """Return the answer; a repeated request is not put to the person again."""
        request = replace(request, is_renewed=self._is_renewed)
        if self.asking is None or request != self._asked:
            await self.close()
            self._asked = request
            self.asking = asyncio.ensure_future(self._on_guard(request))
        return await asyncio.shield(self.asking)

    async def renew(self) -> None:
        """Drop the answer: Steam has sent another code."""
        await self.close()
        self._is_renewed = True

    async def close(self) -> None:
        """Cancel the question."""
        asking, self.asking = self.asking, None
        if asking is not None:
            await end(asking)
