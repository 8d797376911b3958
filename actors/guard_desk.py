"""Steam Guard codes from people, while everything else goes on: one log-on by hand per account at a time.

A bot that needs a code has said so and taken another account. Here a person (through the admin API)
brings the code: a log-on is begun for the account, waits for the code if it has none yet, and ends with a
token in Redis. From then on any bot can use the account.

    SubmitGuard(account, code) -> logged on, or: a code is wanted (again), and where it is to be found
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.actor import Actor, Address, Ask, Envelope, Reply
from actors.clock import Clock
from actors.errors import ServiceError
from actors.steam.port import GuardCallback, GuardKind, GuardRequest

PERSON_S: Final = 600.0  # to find the mail, the phone or the glasses; Steam waits about as long
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
        alarm = self._clock.call_at(self._clock.now() + PERSON_S, lambda: _give_up(wanted))
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
