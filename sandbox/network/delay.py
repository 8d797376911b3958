"""Delayed connection: everything leaves later, and in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from sandbox.network.connection import ClientConnection, DropMode
from sandbox.network.corruption import Corruption

_NEXT_S: Final = 1e-6  # timers of one instant may fire in any order


class DelayedConnection:
    """Another link, behind a delay that is asked for with each message.

    Args:
        link: the way itself.
        delay: returns the seconds by which what is said now is late; 0 as a rule.
    """

    def __init__(self, link: ClientConnection, delay: Callable[[], float]) -> None:
        self.cm = link.cm
        self.transport_name = link.transport_name
        self.source = link.source
        self.drop: Callable[[DropMode], None] = link.drop
        self.destroy: Callable[[], None] = link.destroy
        self._link = link
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self._busy_until = 0.0

    def send(self, message: bytes) -> None:
        """See Link."""
        self._in_turn(partial(self._link.send, message))

    def send_flawed(self, flaw: Corruption) -> None:
        """See Link."""
        self._in_turn(partial(self._link.send_flawed, flaw))

    def close(self) -> None:
        """See Link; what was said before still arrives before."""
        self._in_turn(self._link.close)

    def _in_turn(self, deed: Callable[[], None]) -> None:
        delay_s = self._delay()
        if not delay_s and not self._busy_until:
            deed()
            return
        now = self._loop.time()
        if not delay_s and self._busy_until < now:
            self._busy_until = 0.0
            deed()
            return
        self._busy_until = max(now + delay_s, self._busy_until + _NEXT_S)
        self._loop.call_at(self._busy_until, deed)
