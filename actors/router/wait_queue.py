"""Bounded fair queue of waiters: higher priorities first, without starvation of lower ones.

level 5   ann: ■ ■     bob: ■            served in turns: ann, bob, ann
    level 0   carl: ■ ■ ■ ■ ■                one of these after every PATIENCE of the above

More requests give a client no larger share: a client with a hundred places is served as often as one with
a single place. When the line is full, a new request takes the last place of the client that has most, if
that client keeps as many places as the new client gets.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from actors.bot.messages import ReadyBot
from actors.clock import Cancellable

PATIENCE: Final = 4  # places of higher levels that are served before one of a lower


@dataclass(slots=True, eq=False)
class Waiter:
    """One place in the line. `seat` is what it waits for."""

    client: str
    priority: int
    deadline: float  # clock seconds
    avoid: frozenset[str] = frozenset()  # accounts to use only when there is no other
    patient: bool = False  # waits also when no bot is ready at all
    seat: asyncio.Future[ReadyBot] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    alarm: Cancellable | None = None  # when it gives up


_Level = OrderedDict[str, dict[Waiter, None]]  # by client, in turn; each client's places in order


class FairQueue:
    """The fair queue. Every operation is O(1) in places; levels are few."""

    def __init__(self) -> None:
        self._levels: dict[int, _Level] = {}
        self._passed_over: dict[int, int] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Waiter]:
        """Every place, in no particular order; the line must not change meanwhile."""
        for level in self._levels.values():
            for places in level.values():
                yield from places

    def add(self, place: Waiter) -> None:
        """Stand at the end of what the client has on this level."""
        level = self._levels.setdefault(place.priority, OrderedDict())
        level.setdefault(place.client, {})[place] = None
        self._size += 1

    def first(self) -> Waiter | None:
        """Return whose turn it is."""
        if not self._levels:
            return None
        places = next(iter(self._levels[self._next_level()].values()))
        return next(iter(places))

    def serve(self, place: Waiter) -> None:
        """Let the first one go; it is the next client's turn then."""
        for priority in self._levels:
            if priority < place.priority:
                self._passed_over[priority] = self._passed_over.get(priority, 0) + 1
        self._passed_over[place.priority] = 0
        self._levels[place.priority].move_to_end(place.client)
        self.discard(place)

    def discard(self, place: Waiter) -> None:
        """Take a place out, wherever it is; harmless when it is not in the line."""
        level = self._levels.get(place.priority, OrderedDict())
        places = level.get(place.client, {})
        if place not in places:
            return
        del places[place]
        self._size -= 1
        if not places:
            del level[place.client]
        if not level:
            del self._levels[place.priority]
            self._passed_over.pop(place.priority, None)

    def promote(self, place: Waiter, priority: int) -> None:
        """Move a place in the line to a higher level."""
        self.discard(place)
        place.priority = priority
        self.add(place)

    def displaced_by(self, newcomer: Waiter) -> Waiter | None:
        """Return who has to make room for a newcomer in a full line; None when it is the newcomer.

        O(clients), and only when the line is full.
        """
        level = self._levels.get(newcomer.priority, OrderedDict())
        own = len(level.get(newcomer.client, {}))
        rivals = (
            places
            for priority, level in self._levels.items()
            if priority <= newcomer.priority
            for places in level.values()
        )
        most = max(rivals, key=len, default=None)
        return next(reversed(most)) if most is not None and len(most) > own + 1 else None

    def _next_level(self) -> int:
        starving = [one for one, times in self._passed_over.items() if times >= PATIENCE]
        return max(starving or self._levels)
