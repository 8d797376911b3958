"""Round robin over ready bots with room, in O(1).

A seat takes part while it has fewer than `max_in_flight` requests and its pacing interval is over.
Taking a seat moves it to the end of the line, so the line is always in order of last use; indexing a
changing list with a counter would shift the turn with every bot that joins or leaves.

A seat with requests that are overdue, and a *demoted* one, which was slower than others, stand in a line
of their own and are used only when there is no other. A demoted seat that comes back is on trial: one
request at a time. After `OPENS_AFTER` requests in a row without an answer a seat gets no more until the
bot is answered, or until the silence is judged.
"""

from __future__ import annotations

import contextlib
import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from actors.bot.messages import ReadyBot
from actors.router.circuit_breaker import OPENS_AFTER

_NO_ACCOUNTS: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Entry:
    seat: ReadyBot
    in_flight: int = 0
    used_at: float = -math.inf  # clock seconds
    used_before: float = -math.inf  # the time before that
    is_probed: bool = False  # after a pause: one request at a time
    is_demoted: bool = False
    is_on_trial: bool = False  # after a demotion: likewise
    is_suspended: bool = False  # no requests for now
    overdue: int = 0  # of those in flight, late ones included
    unanswered: int = 0  # requests that became overdue since the last answer
    heard_at: float = -math.inf  # of the last answer

    @property
    def is_second(self) -> bool:
        """Whether it is used only when there is no other."""
        return self.is_demoted or self.overdue > 0


_Rotation = OrderedDict[str, _Entry]  # by bot id, in order of last use


class RoundRobin:
    """The line of seats. Pure bookkeeping: time is an argument."""

    def __init__(self, *, max_in_flight: int, min_interval_s: float) -> None:
        self._max_in_flight = max_in_flight
        self._min_interval_s = min_interval_s
        self._places: dict[str, _Entry] = {}
        self._of_account: dict[str, _Entry] = {}
        self._retired: dict[str, _Entry] = {}  # only while they have requests in flight
        self._line: _Rotation = OrderedDict()
        self._second: _Rotation = OrderedDict()  # used only when there is no other
        self._seconds = 0  # places, busy ones included

    def change_limits(self, *, max_in_flight: int, min_interval_s: float) -> None:
        """Apply new limits from now on; a seat with more in flight than allowed gets no more."""
        self._max_in_flight = max_in_flight
        self._min_interval_s = min_interval_s
        for place in self._places.values():
            self._stand(place)

    def __len__(self) -> int:
        """How many seats there are, busy ones included."""
        return len(self._places)

    def holds(self, seat: ReadyBot) -> bool:
        """Whether this very seat is in the line or busy."""
        return self._place(seat) is not None

    def of_account(self, account: str) -> ReadyBot | None:
        """Return the seat that uses an account, busy or not, if there is one."""
        place = self._of_account.get(account)
        return None if place is None else place.seat

    def has_others(self, accounts: frozenset[str], *, good: bool = False) -> bool:
        """Whether there is a seat, busy or not, of an account that is not among `accounts`.

        `good`: only one that is used like any other.
        """
        if good:
            return self._has_good(accounts)
        return len(self._places) > len(accounts & self._of_account.keys())

    def seats(self) -> list[ReadyBot]:
        """Return all seats, busy or not."""
        return [place.seat for place in self._places.values()]

    @property
    def is_any_answered(self) -> bool:
        """Whether some seat may get requests, as far as answers go."""
        return any(place.unanswered < OPENS_AFTER for place in self._places.values())

    def is_busy(self, bot_id: str) -> bool:
        """Whether a bot, retired or not, has requests in flight."""
        place = self._places.get(bot_id) or self._retired.get(bot_id)
        return place is not None and place.in_flight > 0

    def loads(self) -> Mapping[str, int]:
        """Requests in flight by bot id; of retired bots only those that have any."""
        places = self._places | self._retired
        return {bot_id: place.in_flight for bot_id, place in places.items()}

    def join(self, seat: ReadyBot, *, is_probed: bool = False) -> None:
        """Add a seat, or replace the one of the same bot; probed, it gets one request at a time."""
        self.leave(seat.bot_id)
        place = _Entry(seat, is_probed=is_probed)
        self._places[seat.bot_id] = self._of_account[seat.account] = place
        self._stand(place)

    def leave(self, bot_id: str) -> None:
        """Take a bot's seat out, whatever it is doing."""
        place = self._places.pop(bot_id, None)
        if place is None:
            return
        self._line.pop(bot_id, None)
        self._second.pop(bot_id, None)
        self._seconds -= place.is_second
        if self._of_account.get(place.seat.account) is place:
            del self._of_account[place.seat.account]

    def retire(self, bot_id: str) -> None:
        """Take a bot's seat out, and go on counting what it has in flight (see `loads`)."""
        place = self._places.get(bot_id)
        self.leave(bot_id)
        if place is not None and place.in_flight:
            self._retired[bot_id] = place

    # -- standing ------------------------------------------------------------------------------

    def is_probed(self, seat: ReadyBot) -> bool:
        """Whether this very seat is on probation after a pause."""
        place = self._place(seat)
        return place is not None and place.is_probed

    def overdue(self, seat: ReadyBot) -> None:
        """One more request of a seat is overdue."""
        if (place := self._place(seat)) is not None:
            with self._changing(place):
                place.overdue += 1
                place.unanswered += 1

    def not_overdue(self, seat: ReadyBot, *, is_silence: bool) -> None:
        """An overdue request of a seat counts as silence now, or ended by something else."""
        if (place := self._place(seat)) is not None:
            with self._changing(place):
                place.overdue = max(0, place.overdue - 1)  # it may have been answered since
                if not is_silence:
                    place.unanswered = max(0, place.unanswered - 1)

    def unanswered_by(self, seat: ReadyBot) -> int:
        """Return how many requests of a seat became overdue since its last answer."""
        place = self._place(seat)
        return 0 if place is None else place.unanswered

    def trust(self, seat: ReadyBot, now: float) -> None:
        """A seat was answered: end its probation, and what was overdue says nothing any more."""
        if (place := self._place(seat)) is not None:
            place.heard_at = now
            if place.is_probed or place.unanswered:
                with self._changing(place):
                    place.is_probed = False
                    place.overdue = place.unanswered = 0

    @contextlib.contextmanager
    def _changing(self, place: _Entry) -> Iterator[None]:
        """Let a place stand where it belongs after a change."""
        self._line_of(place).pop(place.seat.bot_id, None)
        self._seconds -= place.is_second
        yield
        self._seconds += place.is_second
        self._stand(place)

    def demote(self, seat: ReadyBot) -> bool:
        """Use a seat only when there is no other; return whether that is new."""
        place = self._place(seat)
        if place is None or place.is_demoted or place.is_probed:
            return False
        with self._changing(place):
            place.is_demoted = True
        return True

    def restore(self, seat: ReadyBot) -> None:
        """Give a demoted seat turns again, on trial."""
        if (place := self._place(seat)) is None or not place.is_demoted:
            return
        with self._changing(place):
            place.is_demoted = False
            place.is_on_trial = True

    def acquit(self, seat: ReadyBot) -> None:
        """End a seat's demotion or trial: it was as fast as any."""
        self.restore(seat)
        if (place := self._place(seat)) is not None and place.is_on_trial:
            place.is_on_trial = False
            self._stand(place)

    def suspend(self, seat: ReadyBot) -> None:
        """Give a seat no requests until it is resumed; it counts as busy."""
        if (place := self._place(seat)) is not None:
            place.is_suspended = True
            self._stand(place)

    def resume(self, seat: ReadyBot) -> None:
        """Give a suspended seat requests again; how long it rests, and its standing, are as before."""
        if (place := self._place(seat)) is not None and place.is_suspended:
            place.is_suspended = False
            self._stand(place)

    # -- taking turns --------------------------------------------------------------------------

    def take(self, now: float, avoid: frozenset[str] = _NO_ACCOUNTS) -> ReadyBot | None:
        """Give the seat whose turn it is one more request, or None when no seat has room.

        Seats of accounts in `avoid` (they failed this request before) are used only when there is no
        other with room; O(1), and O(accounts in `avoid`).
        """
        place = self._best(now, avoid)
        if place is None and avoid:
            place = self._best(now, _NO_ACCOUNTS)
        return None if place is None else self._taken(place, now)

    def take_idle(
        self, now: float, avoid: frozenset[str], *, heard_since: float
    ) -> ReadyBot | None:
        """Give a seat one more request that is idle, or was answered since then; None without one.

        Whether the others are answered any more is not known. Never one of an account in `avoid`.
        """
        for place in self._line.values():
            if self._rests_until(place) > now:
                break
            is_fit = not place.in_flight or place.heard_at > heard_since
            if is_fit and place.seat.account not in avoid:
                return self._taken(place, now)
        return None

    def _taken(self, place: _Entry, now: float) -> ReadyBot:
        place.in_flight += 1
        place.used_before, place.used_at = place.used_at, now
        line = self._line_of(place)
        del line[place.seat.bot_id]
        self._stand(place)
        return place.seat

    def give_back(self, seat: ReadyBot) -> None:
        """One request of `seat` is over; a seat that has left meanwhile is forgotten."""
        retired = self._retired.get(seat.bot_id)
        if retired is not None and retired.seat is seat:
            retired.in_flight -= 1
            if not retired.in_flight:
                del self._retired[seat.bot_id]
            return
        if (place := self._place(seat)) is not None:
            place.in_flight = max(0, place.in_flight - 1)  # it may have left and come back since
            self._stand(place)

    def put_back(self, seat: ReadyBot, taken_at: float) -> None:
        """A request of `seat` was not made after all: it is still its turn, and it need not rest.

        Unless another request took it since `taken_at`: a seat may rest too long, never too short.
        """
        self.give_back(seat)
        if (place := self._place(seat)) is not None and place.used_at <= taken_at:
            place.used_at = place.used_before
            line = self._line_of(place)
            if seat.bot_id in line:
                line.move_to_end(seat.bot_id, last=False)

    def next_rest_over(self, now: float) -> float | None:
        """Seconds until the first resting seat may be used again, or None when none rests."""
        firsts = [next(iter(line.values())) for line in (self._line, self._second) if line]
        if not firsts:
            return None
        return max(0.0, min(map(self._rests_until, firsts)) - now)

    def _place(self, seat: ReadyBot) -> _Entry | None:
        """Return the place of this very seat; one of an earlier life of its bot has none."""
        place = self._places.get(seat.bot_id)
        return place if place is not None and place.seat is seat else None

    def _line_of(self, place: _Entry) -> _Rotation:
        return self._second if place.is_second else self._line

    def _stand(self, place: _Entry) -> None:
        """Stand in line while there is room, at the end unless it stands there already."""
        if place.is_suspended:
            has_room = False
        elif place.is_probed or place.is_on_trial:
            has_room = not place.in_flight and not place.overdue
        else:
            has_room = place.in_flight < self._max_in_flight and place.unanswered < OPENS_AFTER
        if has_room:
            self._line_of(place).setdefault(place.seat.bot_id, place)
        else:
            self._line_of(place).pop(place.seat.bot_id, None)

    def _rests_until(self, place: _Entry) -> float:
        return place.used_at + self._min_interval_s

    def _best(self, now: float, avoid: frozenset[str]) -> _Entry | None:
        """Return a seat of good standing; where there is none at all, busy or not, another one."""
        found = self._first(self._line, now, avoid)
        if found is None and not self._has_good(avoid):
            found = self._first(self._second, now, avoid)
        return found

    def _has_good(self, avoid: frozenset[str]) -> bool:
        avoided = (self._of_account.get(account) for account in avoid)
        avoided_good = sum(place is not None and not place.is_second for place in avoided)
        return len(self._places) - self._seconds > avoided_good

    def _first(self, line: _Rotation, now: float, avoid: frozenset[str]) -> _Entry | None:
        # In order of last use: the seats behind a resting seat rest too, except one that was at its
        # limit until now, and that one waits no longer than one interval.
        for place in line.values():
            if self._rests_until(place) > now:
                return None
            if place.seat.account not in avoid:
                return place
        return None
