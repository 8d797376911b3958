"""Whose turn is it: fair rotation over seats with room, in O(1) whatever their number.

A seat takes part while it has fewer than `max_in_flight` requests and its pacing interval is over.
Taking a seat moves it to the end of the line, so the line is always in order of last use; indexing a
changing list with a counter would shift the turn with every bot that joins or leaves.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from actors.messages import Seat


@dataclass(slots=True)
class _Place:
    seat: Seat
    in_flight: int = 0
    used_at: float = -math.inf  # clock seconds
    is_probed: bool = False  # on trial: one request at a time


class Turns:
    """The line of seats. Pure bookkeeping: time is an argument."""

    def __init__(self, *, max_in_flight: int, min_interval_s: float) -> None:
        self._max_in_flight = max_in_flight
        self._min_interval_s = min_interval_s
        self._places: dict[str, _Place] = {}
        self._retired: dict[str, _Place] = {}  # only while they have requests in flight
        self._line: OrderedDict[str, _Place] = OrderedDict()

    def change_limits(self, *, max_in_flight: int, min_interval_s: float) -> None:
        """Go by other limits from now on; whoever has more in flight than allowed gets no more."""
        self._max_in_flight = max_in_flight
        self._min_interval_s = min_interval_s
        for bot_id, place in self._places.items():
            if place.in_flight >= self._room(place):
                self._line.pop(bot_id, None)
            else:
                self._line.setdefault(bot_id, place)

    def __len__(self) -> int:
        """How many seats there are, busy ones included."""
        return len(self._places)

    def holds(self, seat: Seat) -> bool:
        """Whether this very seat is in the line or busy."""
        place = self._places.get(seat.bot_id)
        return place is not None and place.seat is seat

    def seats(self) -> Iterable[Seat]:
        """Every seat, busy ones included."""
        return (place.seat for place in self._places.values())

    def loads(self) -> Mapping[str, int]:
        """Requests in flight by bot id; of retired bots only those that have any."""
        places = self._places | self._retired
        return {bot_id: place.in_flight for bot_id, place in places.items()}

    def join(self, seat: Seat, *, is_probed: bool = False) -> None:
        """Add a seat, or replace the one of the same bot; on trial it gets one request at a time."""
        self.leave(seat.bot_id)
        place = _Place(seat, is_probed=is_probed)
        self._places[seat.bot_id] = self._line[seat.bot_id] = place

    def is_probed(self, seat: Seat) -> bool:
        """Whether this very seat is on trial."""
        return self.holds(seat) and self._places[seat.bot_id].is_probed

    def trust(self, seat: Seat) -> None:
        """End a seat's trial."""
        if self.is_probed(seat):
            place = self._places[seat.bot_id]
            place.is_probed = False
            if place.in_flight < self._max_in_flight:
                self._line.setdefault(seat.bot_id, place)

    def leave(self, bot_id: str) -> None:
        """Take a bot's seat out, whatever it is doing."""
        self._places.pop(bot_id, None)
        self._line.pop(bot_id, None)

    def retire(self, bot_id: str) -> None:
        """Take a bot's seat out, and go on counting what it has in flight (see `loads`)."""
        place = self._places.get(bot_id)
        self.leave(bot_id)
        if place is not None and place.in_flight:
            self._retired[bot_id] = place

    def take(self, now: float, avoid: frozenset[str] = frozenset()) -> Seat | None:
        """Give the seat whose turn it is one more request, or None when no seat has room.

        Seats of accounts in `avoid` (they failed this request before) are used only when there is
        no other with room.
        """
        place = self._first(now, avoid) or (self._first(now, frozenset()) if avoid else None)
        if place is None:
            return None
        place.in_flight += 1
        place.used_at = now
        self._line.pop(place.seat.bot_id)
        if place.in_flight < self._room(place):
            self._line[place.seat.bot_id] = place
        return place.seat

    def give_back(self, seat: Seat) -> None:
        """One request of `seat` is over; a seat that has left meanwhile is forgotten."""
        retired = self._retired.get(seat.bot_id)
        if retired is not None and retired.seat is seat:
            retired.in_flight -= 1
            if not retired.in_flight:
                del self._retired[seat.bot_id]
            return
        place = self._places.get(seat.bot_id)
        if place is None or place.seat is not seat:
            return
        place.in_flight = max(0, place.in_flight - 1)  # it may have left and come back since
        if place.in_flight < self._room(place):
            self._line.setdefault(seat.bot_id, place)

    def _room(self, place: _Place) -> int:
        return 1 if place.is_probed else self._max_in_flight

    def next_rest_over(self, now: float) -> float | None:
        """Seconds until the first resting seat may be used again, or None when none rests."""
        first = next(iter(self._line.values()), None)
        return None if first is None else max(0.0, self._rests_until(first) - now)

    def _rests_until(self, place: _Place) -> float:
        return place.used_at + self._min_interval_s

    def _first(self, now: float, avoid: frozenset[str]) -> _Place | None:
        # In order of last use: whoever stands behind a resting seat is resting too, but for one that
        # just came back from a full house, and that one waits no longer than one interval.
        for place in self._line.values():
            if self._rests_until(place) > now:
                return None
            if place.seat.account not in avoid:
                return place
        return None
