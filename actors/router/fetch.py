"""One in-flight match and its waiters (single flight).

asked ──► cleared among all containers ──► try ──► landed
                                                └────► another try, while the first may still land

A flight holds the waiting requests and their deadlines, the running tries and the accounts that failed.
It is pure state: the pilot runs it, tries end it, the router finds it by its match.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from actors.actor import Reply
from actors.bot.messages import ReadyBot
from actors.clock import Clock
from actors.errors import RequestError
from actors.matches.match import Known, MatchAnswer
from actors.matches.store import ANYTHING, NEWS, Claim
from actors.router.messages import FetchMatch
from actors.router.wait_queue import Waiter


@dataclass(slots=True, eq=False)
class Fetch:
    """The state of one fetch. Times are clock seconds.

    Attributes:
        claim: what it has, or wants to have, among all containers.
        tries: how many bots may still fail it.
        breaks: how many bots may still be lost while they are asked.
    """

    match_id: int
    claim: Claim
    tries: int
    breaks: int
    client: str = ""  # in whose name it stands in line
    priority: int = 0  # of the most important who waits
    deadline: float = 0.0  # the latest of those who wait
    after: int = ANYTHING  # what is known already will do, or only news
    request_id: str = ""
    may_be_claimed: bool = False  # whether the claim was, or may have been, granted
    held: Claim | None = None  # the claim that is renewed
    was_tried_at_once: bool = False  # a try was started while it was looked up
    was_missed: bool = False  # it was nowhere, so a bot was, or is, asked for it
    has_landed: bool = False
    has_hedged: bool = False
    failed: frozenset[str] = frozenset()  # accounts; tried last from now on
    reason: str = ""  # why the last try failed
    is_useless: bool = False  # it failed by an answer that is of no use
    trouble: RequestError | None = None  # what ends it unless something in the air lands
    in_air: dict[str, float] = field(default_factory=dict)  # account -> since when
    late: set[str] = field(default_factory=set)  # those of them whose time is over
    pilot: asyncio.Task[None] | None = None
    place: Waiter | None = None  # while it stands in line
    asked: ReadyBot | None = None  # the last one
    _waiters: list[Reply[MatchAnswer]] = field(default_factory=list)
    _waiting: int = 0  # those of them who still do
    _stirred: asyncio.Event = field(default_factory=asyncio.Event)

    # -- who waits -----------------------------------------------------------------------------

    def join(
        self, fetch: FetchMatch, reply: Reply[MatchAnswer], on_abandoned: Callable[[], None]
    ) -> None:
        """Let one more asker wait; each keeps its own time limit.

        `on_abandoned` is called when the last one has gone away.
        """

        def on_done() -> None:
            self._waiting -= 1
            if self.is_abandoned and not self.has_landed:
                on_abandoned()

        if self.is_abandoned:
            self.client, self.request_id = fetch.client, fetch.request_id
            self.priority = fetch.priority
        self._waiters.append(reply)
        self._waiting += 1
        reply.when_done(on_done)
        self.deadline = max(self.deadline, fetch.deadline)
        self.priority = max(self.priority, fetch.priority)
        is_asked_for = bool(self.in_air) and self.was_missed
        if fetch.refresh and not is_asked_for and self.after == ANYTHING:
            self.after = NEWS

    @property
    def is_abandoned(self) -> bool:
        """Whether no request waits for it any more."""
        return self._waiting <= 0

    def land(self, known: Known, now: float) -> None:
        """Answer all requests with the match, or why there is none; `now` in UTC seconds."""
        self.has_landed = True
        waiters, self._waiters = self._waiters, []
        for reply in waiters:
            answer(reply, known, now, self.asked)

    def fail(self, error: RequestError) -> None:
        """Fail all waiting requests with `error`; a later request may still succeed."""
        waiters, self._waiters = self._waiters, []
        for reply in waiters:
            refuse(reply, error, self.asked)

    # -- tries ---------------------------------------------------------------------------------

    @property
    def may_try(self) -> bool:
        """Whether one more bot may be asked."""
        return self.tries > 0 and self.breaks > 0

    @property
    def avoid(self) -> frozenset[str]:
        """Accounts that this match should not be asked of while there are others."""
        return self.failed | self.in_air.keys()

    def took_off(self, account: str, now: float) -> None:
        """A try has begun."""
        self.in_air[account] = now

    def came_down(self, account: str) -> None:
        """A try is over, whatever came of it."""
        self.in_air.pop(account, None)
        self.late.discard(account)
        self._stirred.set()

    async def wait_stirred(self, until: float, clock: Clock) -> None:
        """Return when a try is over, at `until` at the latest."""
        alarm = clock.call_at(until, self._stirred.set)
        try:
            await self._stirred.wait()
        finally:
            alarm.cancel()
            self._stirred.clear()


def answer(
    reply: Reply[MatchAnswer], known: Known, now: float, asked: ReadyBot | None = None
) -> None:
    """Answer with what is known; `now` in UTC seconds, `asked`: whom the flight asked last."""
    if isinstance(known, MatchAnswer):
        reply.set(known)
    else:
        refuse(reply, known.error(now), asked)


def refuse(reply: Reply[MatchAnswer], error: RequestError, asked: ReadyBot | None) -> None:
    """Answer with an error, and with who was asked."""
    if asked is not None:
        error.steam_id, error.ip = asked.steam_id, asked.ip
    reply.fail(error)
