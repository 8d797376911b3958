"""Seats handed out in turn, and the bounded line of those who wait for one (backpressure).

Knows which bots can serve and who waits; knows nothing of matches or budgets. Single-threaded: it is
owned by the router and lives on its loop.
"""

from __future__ import annotations

import asyncio
from collections import deque

from actors.clock import Cancellable, Clock
from actors.errors import Busy, NotReady, QuotaExhausted
from actors.messages import Seat
from actors.turns import Turns

NOT_READY_RETRY_S = 5.0  # about what a bot needs to come back
BUSY_RETRY_S = 1.0


class Seats:
    """The seats of all ready bots. `queue`: how many may wait for one."""

    def __init__(self, turns: Turns, *, queue: int, clock: Clock) -> None:
        self._turns = turns
        self._queue = queue
        self._clock = clock
        self._waiting: deque[tuple[asyncio.Future[Seat], frozenset[str]]] = deque()
        self._benched: dict[str, tuple[Seat, float]] = {}
        self._coming: set[str] = set()
        self._budget_frees_at: float | None = None
        self._wake_up: Cancellable | None = None

    @property
    def ready(self) -> int:
        """How many seats could be used, busy ones included."""
        return len(self._turns)

    @property
    def waiting(self) -> int:
        """How many wait for a seat."""
        return len(self._waiting)

    def join(self, seat: Seat) -> None:
        """A bot became ready."""
        self._benched.pop(seat.bot_id, None)
        self._coming.discard(seat.bot_id)
        self._turns.join(seat)
        self._budget_frees_at = None
        self._hand_out()

    def leave(self, bot_id: str, *, is_coming: bool = False) -> None:
        """A bot is not ready (any more); `is_coming` when it is on its way to be."""
        self._benched.pop(bot_id, None)
        self._turns.leave(bot_id)
        (self._coming.add if is_coming else self._coming.discard)(bot_id)

    def bench(self, seat: Seat, seconds: float) -> None:
        """Do not use a seat for a while: its budget is spent."""
        self._turns.leave(seat.bot_id)
        until = self._clock.now() + seconds
        self._benched[seat.bot_id] = (seat, until)
        self._clock.call_at(until, lambda: self._unbench(seat))

    def note_budget(self, frees_in: float | None) -> None:
        """Remember when some account's budget frees, for those who find no seat at all."""
        if frees_in is None:
            return
        now = self._clock.now()
        known = self._budget_frees_at
        if known is None or known <= now:
            self._budget_frees_at = now + frees_in
        else:
            self._budget_frees_at = min(known, now + frees_in)

    async def take(self, avoid: frozenset[str], deadline: float, *, patient: bool) -> Seat:
        """Return the seat whose turn it is, waiting for one if all are busy.

        Args:
            avoid: accounts to use only when there is no other.
            deadline: clock seconds.
            patient: wait also when no bot is ready at all.

        Raises:
            NotReady, QuotaExhausted: there is no seat at all.
            Busy: too many wait already, or the wait took until the deadline.
        """
        if not self._waiting and (seat := self._turns.take(self._clock.now(), avoid)) is not None:
            return seat
        if not len(self._turns) and not patient:
            raise self._nobody()
        if len(self._waiting) >= self._queue:
            raise Busy("too many requests are waiting for a bot; try again soon", BUSY_RETRY_S)
        return await self._wait(avoid, deadline)

    def give_back(self, seat: Seat) -> None:
        """A request of this seat is over."""
        self._turns.give_back(seat)
        self._hand_out()

    async def _wait(self, avoid: frozenset[str], deadline: float) -> Seat:
        place: asyncio.Future[Seat] = asyncio.get_running_loop().create_future()
        entry = (place, avoid)
        self._waiting.append(entry)
        self._hand_out()
        alarm = self._clock.call_at(deadline, lambda: self._give_up(place))
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.give_back(place.result())
            raise
        finally:
            alarm.cancel()
            if entry in self._waiting:
                self._waiting.remove(entry)

    def _give_up(self, place: asyncio.Future[Seat]) -> None:
        if not place.done():
            place.set_exception(
                Busy("no bot had time within the deadline; try again soon", BUSY_RETRY_S)
                if len(self._turns)
                else self._nobody()
            )

    def _hand_out(self) -> None:
        now = self._clock.now()
        while self._waiting:
            place, avoid = self._waiting[0]
            if place.done():
                self._waiting.popleft()
                continue
            seat = self._turns.take(now, avoid)
            if seat is None:
                break
            self._waiting.popleft()
            place.set_result(seat)
        self._set_wake_up(now)

    def _set_wake_up(self, now: float) -> None:
        """Come back when the pacing interval of the next seat is over."""
        if self._wake_up is not None:
            self._wake_up.cancel()
            self._wake_up = None
        if self._waiting and (rest := self._turns.next_rest_over(now)):
            self._wake_up = self._clock.call_at(now + rest, self._hand_out)

    def _unbench(self, seat: Seat) -> None:
        if self._benched.get(seat.bot_id, (None,))[0] is seat:
            self.join(seat)

    def _nobody(self) -> NotReady | QuotaExhausted:
        now = self._clock.now()
        frees_at = [until for _, until in self._benched.values()]
        if self._budget_frees_at is not None:
            frees_at.append(self._budget_frees_at)
        if frees_at and not self._coming:
            return QuotaExhausted(
                "the daily budget of every account is spent", max(0.0, min(frees_at) - now)
            )
        return NotReady("no bot is ready to ask the Game Coordinator", NOT_READY_RETRY_S)
