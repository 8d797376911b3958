"""Bounded fair queue of waiters: higher priorities first, without starvation of lower ones.

priority 5   ann: ■ ■     bob: ■            served in turns: ann, bob, ann
priority 0   carl: ■ ■ ■ ■ ■                one of these after every PATIENCE of the above

More requests give a client no larger share: a client with a hundred waiters is served as often as one
with a single waiter. When the queue is full, a new waiter replaces the last one of the client that has
most, if that client keeps as many waiters as the new client gets.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from actors.bot.messages import ReadyBot
from actors.clock import Cancellable

PATIENCE: Final = 4  # waiters of higher priorities that are served before one of a lower


@dataclass(slots=True, eq=False)
class Waiter:
    """One fetch that waits for `bot`."""

    client: str
    priority: int
    deadline: float  # clock seconds
    avoid: frozenset[str] = frozenset()  # accounts to use only when there is no other
    patient: bool = False  # waits also when no bot is ready at all
    bot: asyncio.Future[ReadyBot] = field(default_factory=asyncio.Future)
    alarm: Cancellable | None = None  # at the deadline


_Level = OrderedDict[str, dict[Waiter, None]]  # by client, in turn; each client's waiters in order


class FairQueue:
    """The queue. Every operation is O(1) in waiters; priorities are few. `size`: how many wait."""

    def __init__(self) -> None:
        self.size = 0
        self._levels: dict[int, _Level] = {}
        self._passed_over: Counter[int] = Counter()

    def __iter__(self) -> Iterator[Waiter]:
        """Every waiter, in no particular order; the queue must not change meanwhile."""
        return (
            one for level in self._levels.values() for waiters in level.values() for one in waiters
        )

    def add(self, waiter: Waiter) -> None:
        """Add a waiter behind those of its client and priority."""
        level = self._levels.setdefault(waiter.priority, OrderedDict())
        level.setdefault(waiter.client, {})[waiter] = None
        self.size += 1

    def first(self) -> Waiter | None:
        """Return the waiter whose turn it is."""
        if not self._levels:
            return None
        starving = [one for one, times in self._passed_over.items() if times >= PATIENCE]
        level = self._levels[max(starving or self._levels)]
        return next(iter(next(iter(level.values()))))

    def serve(self, waiter: Waiter) -> None:
        """Remove the first waiter; it is the next client's turn then."""
        self._passed_over.update(one for one in self._levels if one < waiter.priority)
        self._passed_over[waiter.priority] = 0
        self._levels[waiter.priority].move_to_end(waiter.client)
        self.discard(waiter)

    def discard(self, waiter: Waiter) -> None:
        """Remove a waiter, wherever it is; harmless when it is not in the queue."""
        level = self._levels.get(waiter.priority, OrderedDict())
        waiters = level.get(waiter.client, {})
        if waiter not in waiters:
            return
        del waiters[waiter]
        self.size -= 1
        if not waiters:
            del level[waiter.client]
        if not level:
            del self._levels[waiter.priority]
            self._passed_over.pop(waiter.priority, None)

    def promote(self, waiter: Waiter, priority: int) -> None:
        """Move a waiter to a higher priority."""
        self.discard(waiter)
        waiter.priority = priority
        self.add(waiter)

    def displaced_by(self, newcomer: Waiter) -> Waiter | None:
        """Return the waiter that leaves a full queue for a newcomer, if one does; O(clients)."""
        level = self._levels.get(newcomer.priority, OrderedDict())
        own = len(level.get(newcomer.client, {}))
        rivals = (
            waiters
            for priority, level in self._levels.items()
            if priority <= newcomer.priority
            for waiters in level.values()
        )
        most = max(rivals, key=len, default=None)
        return next(reversed(most)) if most is not None and len(most) > own + 1 else None
