"""A log-on's turn: waits until the pacing allows it, and returns it when Steam was not reached."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

from actors.accounts.pacing import Wait
from actors.bot_ports import BotPorts, Pacing
from actors.errors import SteamUnreachable, StoreUnavailable
from actors.steam.port import Link, LinkListener, Server

LONGEST_TURN_S: Final = 30.0  # between two looks whether a log-on may start
TURN_JITTER_S: Final = 1.0


class LogOnTurn:
    """One turn of one bot: `wait` for it, then `pick` a CM and `open` a connection to it."""

    def __init__(self, bot_id: str, ports: BotPorts, *, with_password: bool) -> None:
        self._bot_id = bot_id
        self._ports = ports
        self._with_password = with_password

    async def wait(self, tell: Callable[[Wait], None]) -> None:
        """Return when a log-on may start; it is counted then. `tell` hears of each wait.

        Raises:
            StoreUnavailable, StoreMisused: see `redis_client`.
        """
        ports = self._ports
        while (wait := await ports.pacing.ask(with_password=self._with_password)) is not None:
            if wait.reason == "rate-limit":
                note_limit(self._bot_id, ports, wait)
            tell(wait)
            # Jitter: those who wait for the same moment must not ask in the same moment.
            pause = min(wait.seconds, LONGEST_TURN_S) + ports.rng.random() * TURN_JITTER_S
            await ports.clock.sleep(pause)

    async def pick(self) -> Server:
        """Return a CM; see `Directory`."""
        async with refunded_unless_reached(self._ports.pacing, with_password=self._with_password):
            return await self._ports.directory.pick()

    async def open(self, server: Server, listener: LinkListener, *, timeout_s: float) -> Link:
        """Return an open link; see `Steam`."""
        async with refunded_unless_reached(self._ports.pacing, with_password=self._with_password):
            return await self._ports.steam.open(server, listener, timeout_s=timeout_s)


def note_limit(bot_id: str, ports: BotPorts, wait: Wait) -> None:
    """Note that a bot may not log on, as Steam limits log-ons from its address."""
    now = ports.clock.wall()
    ports.causes.limited(bot_id, wait.address, now + wait.seconds, now)


@contextlib.asynccontextmanager
async def refunded_unless_reached(pacing: Pacing, *, with_password: bool) -> AsyncIterator[None]:
    """Return a turn when the block, which connects to Steam, fails: no log-on was tried."""
    try:
        yield
    except SteamUnreachable:
        with contextlib.suppress(StoreUnavailable):  # then it counts for nothing, for a while
            await pacing.refund(with_password=with_password)
        raise
