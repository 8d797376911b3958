"""Has the refresh token of a logged-on account renewed well before it expires.

Steam decides when it hands out a newer one (somewhere near the end of a token's 200 days), so it is
asked once a day from 30 days before the end. From the moment it does, the old token is dead, and so a
renewal that has begun is seen to its end, whatever else ends meanwhile.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn, Protocol

from structlog.typing import FilteringBoundLogger

from actors.accounts.refresh_token import expires_at
from actors.clock import Clock
from actors.errors import AccountError, LogOnRefused, SteamUnreachable
from actors.steam.port import AuthState

DAY_S: Final = 86400.0
RENEW_BEFORE_S: Final = 30 * DAY_S
ASK_S: Final = 10.0
FINISH_S: Final = 3.0


class RenewsTokens(Protocol):
    """What the keeper needs of the link."""

    async def renew_token(self, auth: AuthState, *, timeout_s: float) -> AuthState | None:
        """See `actors.steam.port.Link`."""


class TokenKeeper:
    """Keeps one account's token young; `keep` runs until it is cancelled."""

    def __init__(
        self,
        link: RenewsTokens,
        auth: AuthState,
        save: Callable[[AuthState], Awaitable[None]],
        *,
        clock: Clock,
        wall: Callable[[], float],
        rng: random.Random,
        log: FilteringBoundLogger,
    ) -> None:
        """`save` returns when the new state is stored for good; `wall` tells UTC seconds."""
        self._link = link
        self._auth = auth
        self._save = save
        self._clock = clock
        self._wall = wall
        self._rng = rng
        self._log = log
        self._renewing: asyncio.Task[None] | None = None

    async def keep(self) -> NoReturn:
        """Ask when it is time, for ever."""
        while True:
            expires = expires_at(self._auth.refresh_token)
            if expires is not None and expires - self._wall() < RENEW_BEFORE_S:
                self._renewing = asyncio.create_task(self._renew(), name="token-renewal")
                await asyncio.shield(self._renewing)
            # Jitter: accounts that were added together are not asked for together for ever.
            await self._clock.sleep(DAY_S * (0.9 + 0.2 * self._rng.random()))

    async def finish(self, within_s: float = FINISH_S) -> None:
        """End after a renewal that is under way; to be called before the link is given up."""
        renewing = self._renewing
        if renewing is None or renewing.done():
            return
        alarm = self._clock.call_at(self._clock.now() + within_s, lambda: _cancel(renewing))
        await asyncio.wait({renewing})
        alarm.cancel()

    async def _renew(self) -> None:
        try:
            newer = await self._link.renew_token(self._auth, timeout_s=ASK_S)
            if newer is None:
                return
            self._auth = newer
            await self._save(newer)
        except (LogOnRefused, SteamUnreachable, AccountError) as error:
            self._log.warning("token_not_renewed", reason=str(error))
        else:
            self._log.info("token_renewed")


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
