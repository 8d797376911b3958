"""Whose turn is it: fair rotation over seats with room, in O(1) whatever their number.

A seat takes part while it has fewer than `max_in_flight` requests and its pacing interval is over.
Taking a seat moves it to the end of the line, so the line is always in order of last use; indexing a
changing list with a counter would shift the turn with every bot that joins or leaves.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from actors.messages import Seat


@dataclass(slots=True)
class _Place:
    seat: Seat
    in_flight: int = 0
    rests_until: float = 0.0  # clock seconds


class Turns:
    """The line of seats. Pure bookkeeping: time is an argument."""

    def __init__(self, *, max_in_flight: int, min_interval_s: float) -> None:
        self._max_in_flight = max_in_flight
        self._min_interval_s = min_interval_s
        self._places: dict[str, _Place] = {}
        self._line: OrderedDict[str, _Place] = OrderedDict()

    def __len__(self) -> int:
        """How many seats there are, busy ones included."""
        return len(self._places)

    def seats(self) -> Iterable[Seat]:
        """Every seat, busy ones included."""
        return (place.seat for place in self._places.values())

    def join(self, seat: Seat) -> None:
        """Add a seat, or replace the one of the same bot."""
        self.leave(seat.bot_id)
        place = _Place(seat)
        self._places[seat.bot_id] = self._line[seat.bot_id] = place

    def leave(self, bot_id: str) -> None:
        """Take a bot's seat out, whatever it is doing."""
        self._places.pop(bot_id, None)
        self._line.pop(bot_id, None)

    def take(self, now: float, avoid: frozenset[str] = frozenset()) -> Seat | None:
        """Give the seat whose turn it is one more request, or None when no seat has room.

        Seats of accounts in `avoid` (they failed this request before) are used only when there is
        no other with room.
        """
        place = self._first(now, avoid) or (self._first(now, frozenset()) if avoid else None)
        if place is None:
            return None
        place.in_flight += 1
        place.rests_until = now + self._min_interval_s
        self._line.pop(place.seat.bot_id)
        if place.in_flight < self._max_in_flight:
            self._line[place.seat.bot_id] = place
        return place.seat

    def give_back(self, seat: Seat) -> None:
        """One request of `seat` is over; a seat that has left meanwhile is forgotten."""
        place = self._places.get(seat.bot_id)
        if place is None or place.seat is not seat:
            return
        place.in_flight -= 1
        self._line.setdefault(seat.bot_id, place)

    def next_rest_over(self, now: float) -> float | None:
        """Seconds until the first resting seat may be used again, or None when none rests."""
        first = next(iter(self._line.values()), None)
        return None if first is None else max(0.0, first.rests_until - now)

    def _first(self, now: float, avoid: frozenset[str]) -> _Place | None:
        # In order of last use: whoever stands behind a resting seat is resting too, but for one that
        # just came back from a full house, and that one waits no longer than one interval.
        for place in self._line.values():
            if place.rests_until > now:
                return None
            if place.seat.account not in avoid:
                return place
        return None
