"""One GC request by one bot: reserve, ask, classify.

sent ──► overdue ──► late ──► silent
             hedge       no load  evidence: see silence.py and circuit.py

A try accepts its answer as long as the bot's GC session lives, whether its flight still waits for it or
not: the request is paid for. After `bots.request_timeout` it is late and counts no longer as load of its
bot; when it took several times as long as the answers that others got meanwhile, it is silence and its
flight goes on without it. An answer that comes after all serves the requests that wait for the match
then, and the cache.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from structlog.typing import FilteringBoundLogger

from actors.accounts.models import Refused, Reserved, Unmet
from actors.bot.log import FirstFailures
from actors.bot.messages import ReadyBot, ServeMatch
from actors.clock import Cancellable, Tasks, WallClock
from actors.errors import (
    AccountError,
    LocalProtocolError,
    RequestDropped,
    RequestStoreUnavailable,
    SteamError,
    StoreMisused,
    store_trouble,
)
from actors.matches.match import Known, NoMatch, NoMatchReason, answer_of
from actors.matches.protobuf.decoder import MatchDecoder
from actors.matches.protobuf.wire import DecodeError
from actors.redis.client import Condition
from actors.router.bot_health import BotHealth
from actors.router.bot_pool import BotPool
from actors.router.claim import STORE_RETRY_S
from actors.router.fetch import Fetch
from actors.router.hedging import LEAST_S
from actors.router.messages import RouterPolicy
from actors.router.metrics import Failure, Lookup, Tally
from actors.router.unanswered import Why

# CMsgGCMatchDetailsResponse.result, as odota/core reads it.
RESULT_OK: Final = 1
VERDICTS: Final = {2: NoMatchReason.NOT_FOUND, 15: NoMatchReason.BLOCKED}

# Trouble inside the GC (Busy, Timeout, ServiceUnavailable); it may be over soon.
TROUBLE: Final = frozenset({10, 16, 20})

# Between two looks whether an address is still spent: Redis may lose the count, or an operator resets it.
ADDRESS_LOOK_S: Final = 2.0
BOT_GRACE_S: Final = 1.0  # for the bot's check of its connection
LOOKS: Final = 5  # within a request timeout, whether a late request counts as silence yet


class ReservesBudget(Protocol):
    """What the router needs of the accounts' store."""

    async def reserve(
        self, account: str, fencing_token: int, ip: str | None, *, if_: Condition | None = None
    ) -> Reserved | Refused | Unmet:
        """Count one request before it is sent. Raises StoreUnavailable, StoreMisused."""

    async def address_frees_in(self, ip: str) -> float:
        """Return seconds until an address's budget frees, 0 while some is left. Raises as `reserve`."""


class _TryFailed(Exception):
    """This bot did not bring the match; the text says why."""

    def __init__(
        self, reason: str, kind: Failure = Failure.UNUSABLE, useless: Why | None = None
    ) -> None:
        self.kind = kind
        self.useless = useless
        super().__init__(reason)


@dataclass(slots=True, eq=False)
class Attempt:
    """One of them. `if_`: what had to hold for its request to be counted."""

    flight: Fetch
    seat: ReadyBot
    begun: float  # clock seconds
    if_: Condition | None
    is_void: bool = False  # nothing was to be counted after all
    asked_at: float = 0.0  # clock seconds
    is_overdue: bool = False
    is_late: bool = False  # its seat is given back
    is_silent: bool = False  # its flight does not wait for it any more
    alarm: Cancellable | None = None  # the next look at it
    _settled: asyncio.Event = field(default_factory=asyncio.Event)

    async def is_made(self) -> bool:
        """Return whether it is, or was, one, as soon as that is clear."""
        await self._settled.wait()
        return not self.is_void

    def settle(self) -> None:
        """It is clear."""
        self._settled.set()


class Attempts:
    """Starts tries and applies their outcomes. Owned by the router."""

    def __init__(
        self,
        *,
        budgets: ReservesBudget,
        seats: BotPool,
        conduct: BotHealth,
        decoder: MatchDecoder,
        on_cleared: Callable[[Fetch], None],
        on_brought: Callable[[Fetch, Known], None],
        on_over: Callable[[Fetch], None],
        policy: RouterPolicy,
        tally: Tally,
        clock: WallClock,
        log: FilteringBoundLogger,
    ) -> None:
        """Store the collaborators and callbacks.

        `on_cleared`: called when the condition of a try holds; `on_brought`: when the GC has answered;
        `on_over`: last, when a try has ended or is late.
        """
        self.policy = policy
        self._budgets = budgets
        self._seats = seats
        self._conduct = conduct
        self._decoder = decoder
        self._on_cleared = on_cleared
        self._on_brought = on_brought
        self._on_over = on_over
        self._tally = tally
        self._clock = clock
        self._log = log
        self._failures = FirstFailures()
        self._running = Tasks()
        self._watched: set[str] = set()  # spent addresses

    def start(self, flight: Fetch, seat: ReadyBot, *, if_: Condition | None = None) -> Attempt:
        """Let a bot try; the seat is given back when it is over.

        `if_`: only if that holds when its request is to be counted; else it was none.
        """
        if if_ is None:
            self.missed(flight)
        one = Attempt(flight, seat, self._clock.now(), if_)
        flight.took_off(seat.account, one.begun)
        task = self._running.start(self._try(one), name=f"try-{flight.match_id}-{seat.bot_id}")
        # Not in the task: one that is cancelled before its first step would never get there.
        task.add_done_callback(lambda _: self._end(one))
        return one

    def missed(self, flight: Fetch) -> None:
        """The match is nowhere; counted once for a flight."""
        if not flight.was_missed:
            flight.was_missed = True
            self._tally.looked_up(Lookup.MISS)

    def cancel(self) -> None:
        """Give up all that run."""
        self._running.cancel()

    async def finish(self) -> None:
        """Wait for all that run."""
        await self._running.finish()

    async def _try(self, one: Attempt) -> None:
        flight = one.flight
        if flight.is_abandoned:
            one.is_void = True
            return
        try:
            if await self._charge(one):
                one.settle()
                self._on_brought(flight, await self._ask(one))
        except _TryFailed as failed:
            self._note_failure(one, failed)

    def _end(self, one: Attempt) -> None:
        if one.is_void:
            self._seats.put_back(one.seat, one.begun)
        elif not one.is_late:
            self._seats.give_back(one.seat)
        one.settle()
        if not one.is_silent:
            one.flight.came_down(one.seat.account)
            self._on_over(one.flight)

    async def _charge(self, one: Attempt) -> bool:
        """Return whether the request is counted. Raises _TryFailed."""
        flight, seat = one.flight, one.seat
        try:
            verdict = await self._budgets.reserve(
                seat.account, seat.fencing_token, seat.ip, if_=one.if_
            )
        except StoreMisused as error:  # a key of this account; others may be in order
            raise _TryFailed(str(error), Failure.BROKE) from error
        except AccountError as error:
            flight.trouble = RequestStoreUnavailable(
                f"{store_trouble(error)}, so no budget can be counted", STORE_RETRY_S
            )
            return False
        if isinstance(verdict, Unmet):
            one.is_void = True
            return False
        if one.if_ is not None:
            self._on_cleared(flight)
        if isinstance(verdict, Refused):
            self._tally.refused(verdict.scope)
            ip, seats = seat.ip, self._seats
            self._conduct.refused(seat, verdict)
            if ip is not None and ip in seats.spent_addresses and ip not in self._watched:
                self._watched.add(ip)
                self._running.start(self._watch_address(ip), name=f"address-{ip}")
            return False
        return True

    async def _watch_address(self, ip: str) -> None:
        """Use a spent address again as soon as Redis counts less than its budget."""
        while ip in self._seats.spent_addresses:
            await self._clock.sleep(ADDRESS_LOOK_S)
            with contextlib.suppress(AccountError):  # the time at which it frees is known
                if not await self._budgets.address_frees_in(ip):
                    self._seats.free_address(ip)
        self._watched.discard(ip)

    async def _ask(self, one: Attempt) -> Known:
        """Raises _TryFailed."""
        flight, seat = one.flight, one.seat
        flight.asked = seat
        match_id, timeout_s = flight.match_id, self.policy.request_timeout_s
        one.asked_at = self._clock.now()
        self._look_again(one, one.asked_at + self._conduct.hedging.overdue_s, self._on_overdue)
        late = self._clock.call_at(
            one.asked_at + timeout_s + BOT_GRACE_S, lambda: self._on_late(one)
        )
        try:
            body = await seat.address.ask(
                ServeMatch(match_id, timeout_s, flight.request_id, late_s=math.inf),
                deadline=math.inf,
            )
        except TimeoutError:
            raise _TryFailed("silence", Failure.SILENT) from None
        except RequestDropped as error:
            raise _TryFailed(str(error), Failure.DROPPED) from error
        except (SteamError, LocalProtocolError) as error:
            raise _TryFailed(str(error), Failure.BROKE) from error
        finally:
            late.cancel()
            if one.alarm is not None:
                one.alarm.cancel()
        known, failed = self._judged(one, body)
        useless = None if failed is None else failed.useless
        self._conduct.answered(seat, match_id, one.asked_at, useless)
        if known is None:
            raise failed or _TryFailed("no answer")
        self._failures.succeeded(seat.account)
        return known

    def _look_again(self, one: Attempt, at: float, look: Callable[[Attempt], None]) -> None:
        one.alarm = self._clock.call_at(at, lambda: look(one))

    def _on_overdue(self, one: Attempt) -> None:
        """Look whether others are quicker: now, and then when it has taken twice as long each time."""
        self._note_overdue(one)
        if not self._conduct.slow(one.seat, one.asked_at) and not one.is_late:
            now = self._clock.now()
            self._look_again(one, now + max(now - one.asked_at, LEAST_S), self._on_overdue)

    def _note_overdue(self, one: Attempt) -> None:
        if not one.is_overdue:
            one.is_overdue = True
            self._seats.overdue(one.seat)

    def _on_late(self, one: Attempt) -> None:
        """It is no load of its bot any more; from now on look whether it is silence."""
        if one.alarm is not None:
            one.alarm.cancel()
        one.is_late = True
        one.flight.late.add(one.seat.account)
        self._seats.give_back(one.seat)
        self._on_over(one.flight)
        self._look_for_silence(one)

    def _look_for_silence(self, one: Attempt) -> None:
        timeout_s, now = self.policy.request_timeout_s, self._clock.now()
        hedging = self._conduct.hedging
        silent_at = hedging.silent_at(one.asked_at, timeout_s)
        if now >= min(silent_at, one.asked_at + hedging.overdue_s):
            self._note_overdue(one)
        if now < silent_at:
            at = min(silent_at, now + timeout_s / LOOKS)
            self._look_again(one, at, self._look_for_silence)
            return
        self._note_failure(one, _TryFailed("silence", Failure.SILENT))
        one.is_silent = True
        one.flight.came_down(one.seat.account)
        self._on_over(one.flight)

    def _judged(self, one: Attempt, body: bytes) -> tuple[Known | None, _TryFailed | None]:
        """Return what is known of the match now, or why the answer is of no use."""
        match_id, seat = one.flight.match_id, one.seat
        now, freshness = self._clock.wall(), self.policy.freshness
        try:
            details = self._decoder.decode(body)
        except DecodeError as error:
            return None, _TryFailed(str(error), useless=Why.USELESS)
        self._tally.answered(self._clock.now() - one.asked_at)
        if (verdict := VERDICTS.get(details.result)) is not None:
            return NoMatch(match_id, verdict, now, now + freshness.negative_ttl_s), None
        if details.result != RESULT_OK:
            useless = Why.TROUBLE if details.result in TROUBLE else Why.USELESS
            return None, _TryFailed(f"result {details.result}", useless=useless)
        if details.match_id != match_id:  # never hand out another match, whatever went wrong
            reason = f"the answer was about match {details.match_id}"
            return None, _TryFailed(reason, useless=Why.USELESS)
        ttl_s = freshness.ttl_of(details, now)
        answer = answer_of(match_id, body, details, now=now, ttl_s=ttl_s)
        return replace(answer, steam_id=seat.steam_id, ip=seat.ip), None

    def _note_failure(self, one: Attempt, failed: _TryFailed) -> None:
        if one.is_silent:  # noted by then
            return
        flight, seat = one.flight, one.seat
        flight.reason = str(failed)
        flight.failed |= {seat.account}
        flight.is_useless = failed.useless is Why.USELESS
        bot_broke = failed.kind is Failure.BROKE  # and perhaps the GC was never asked
        flight.tries -= not bot_broke
        flight.breaks -= bot_broke
        self._tally.failed(failed.kind)
        log = self._log.bind(
            match_id=flight.match_id,
            account=seat.account,
            reason=flight.reason,
            request_id=flight.request_id,
        )
        if not bot_broke and self._failures.is_news(seat.account):
            log.info("try_failed")
        else:  # a bot that breaks says so itself
            log.debug("try_failed")
        is_dropped = failed.kind is Failure.DROPPED
        is_silence = is_dropped or failed.kind is Failure.SILENT
        if is_dropped:  # as if it were overdue: it counts among those that were not answered
            self._note_overdue(one)
            self._conduct.dropped(seat, flight.match_id, others_got_it=flight.has_landed)
        elif is_silence:
            got_it = flight.has_landed
            self._conduct.silent(seat, flight.match_id, one.asked_at, others_got_it=got_it)
        if one.is_overdue:  # after that: a seat that is paused for it gets no further request
            self._seats.not_overdue(seat, is_silence=is_silence)
