"""Steam Guard service: takes the codes of operators and logs their accounts on.

A bot whose account needs a code reports that and takes another account. An operator submits the code: a
log-on begins for the account, waits for the code if there is none yet, and ends with a token in Redis.
From then on any bot can use the account.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.actor import fail, resolve
from actors.bot.interactive_logon import InteractiveLogon
from actors.clock import Clock, Tasks, within
from actors.errors import ActorStopped, ServiceError
from actors.steam.port import GuardKind, GuardRequest

SERVICE: Final = "steam_guard"
CODE_S: Final = 600.0  # to find the mail, the phone or the glasses; Steam waits about as long
WHERE: Final = {
    GuardKind.EMAIL: "the e-mail that Steam has just sent",
    GuardKind.DEVICE: "the mobile app, or an approval there",
}


@dataclass(slots=True)
class _Pending:
    """One log-on under way."""

    account: str
    code: str | None = field(repr=False)  # brought, and not asked for yet
    is_early: bool = True  # that code was brought before this log-on began
    reply: asyncio.Future[str | None] | None = None  # of the request that waits for the outcome
    wanted: asyncio.Future[str] | None = None  # Steam waits for a code
    need: str | None = None

    def answer(self, outcome: str | ServiceError | None) -> None:
        reply, self.reply = self.reply, None
        if reply is None:
            return
        if isinstance(outcome, ServiceError):
            fail(reply, outcome)
        else:
            resolve(reply, outcome)


class SteamGuard:
    """Service that runs interactive log-ons, and passes them the codes that operators submit."""

    def __init__(self, logon: InteractiveLogon, *, clock: Clock, log: FilteringBoundLogger) -> None:
        self._logon = logon
        self._clock = clock
        self._log = log.bind(actor=SERVICE)
        self._pending: dict[str, _Pending] = {}
        self._tasks = Tasks()
        self._is_running = False
        self._stop_asked = asyncio.Event()

    async def start(self) -> None:
        """Accept codes from now on."""
        self._is_running = True
        self._stop_asked.clear()

    async def run(self) -> None:
        """Serve until stopped; log-ons that still wait for a code end then."""
        try:
            await self._stop_asked.wait()
        finally:
            self._is_running = False
            self._tasks.cancel()
            await self._tasks.finish()

    def stop(self) -> None:
        """Let `run` return. Harmless when repeated."""
        self._stop_asked.set()

    async def submit(self, account: str, code: str | None = None) -> str | None:
        """Log an account on, with the code if there is one; or pass the code to its log-on.

        Return what is wanted now, in words; None when the account is logged on.

        Raises:
            ServiceError: why the log-on ended.
            ActorStopped: the service does not run.
        """
        if not self._is_running:
            raise ActorStopped(SERVICE)
        pending = self._pending.get(account)
        if pending is None:
            pending = self._pending[account] = _Pending(account, code)
            self._tasks.start(self._run(pending), name=f"guard-{account}")
        elif code is not None and pending.wanted is not None:
            pending.wanted.set_result(code)
            pending.wanted = None
        else:
            if code is not None:  # Steam is about to ask, or checks another code
                pending.code, pending.is_early = code, False
            if code is None or pending.reply is not None:
                is_asked = pending.wanted is not None
                return pending.need if is_asked else "a moment: a log-on is under way"
        pending.reply = asyncio.get_running_loop().create_future()
        return await pending.reply

    async def _run(self, pending: _Pending) -> None:
        try:
            await self._logon.log_on(pending.account, partial(self._ask, pending))
        except ServiceError as error:
            self._log.warning("guard_log_on_failed", account=pending.account, reason=str(error))
            pending.answer(error)
        else:
            self._log.info("guard_log_on_succeeded", account=pending.account)
            pending.answer(None)
        finally:
            pending.answer(ActorStopped(SERVICE))  # only a log-on that was cancelled
            del self._pending[pending.account]

    async def _ask(self, pending: _Pending, request: GuardRequest) -> str | None:
        """Return the code that was brought along, or else the next that is brought; None: none came.

        A code from an e-mail is good for the log-on that this mail is about. One that was brought before
        the log-on began, which has sent another mail, is not shown to Steam: it would count as wrong.
        """
        code, pending.code = pending.code, None
        is_stale = code is not None and pending.is_early and request.kind is GuardKind.EMAIL
        if code is not None and not is_stale:
            return code
        pending.need = _need(request, is_stale=is_stale)
        pending.wanted = asyncio.get_running_loop().create_future()
        pending.answer(pending.need)
        try:
            async with within(self._clock, CODE_S):
                return await pending.wanted
        except TimeoutError:
            return None
        finally:
            pending.wanted = None


def _need(request: GuardRequest, *, is_stale: bool) -> str:
    again = "that code was wrong; " if request.attempt > 1 else ""
    if request.is_renewed or is_stale:
        again = "that code is of an earlier log-on; " if is_stale else "the time is over; "
    hint = f" (to {request.hint})" if request.hint else ""
    return f"{again}the Steam Guard code from {WHERE[request.kind]}{hint}"
