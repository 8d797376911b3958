"""What the end of a life means: which CM is avoided, who pauses, who is told, whose the account is.

One per life, from its checkout on. Knows no states and no order of letting go: that is the bot's.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.accounts.lease import Lease
from actors.bot_ports import BotPorts
from actors.errors import LeaseLost, LogOnRefused, SteamUnreachable, StoreUnavailable
from actors.logon import give_back
from actors.needs import as_reason, need_of
from actors.steam.port import Server
from actors.verdicts import (
    MARKS_CM,
    NEEDS_PERSON,
    STOPS_IP,
    Verdict,
    after_strikes,
    cooldown_s,
    judge,
    stays_leased,
)


@dataclass(frozen=True, slots=True)
class Ruling:
    """`need`: what a person has to do; `cooldown_s`: for how long nobody tries the account."""

    verdict: Verdict | None = None
    need: str | None = None
    cooldown_s: float | None = None


_NOTHING: Final = Ruling()


class Reckoning:
    """See the module."""

    def __init__(self, ports: BotPorts, lease: Lease, *, log: FilteringBoundLogger) -> None:
        self._ports = ports
        self._lease = lease
        self._log = log
        self._judged: BaseException | None = None
        self._ruling = _NOTHING

    @property
    def verdict(self) -> Verdict | None:
        """What was judged so far."""
        return self._ruling.verdict

    def ruling(self, failure: BaseException | None) -> Ruling:
        """Judge what ended this life. A life ends once: asked again, the same is said again."""
        if failure is not None and failure is not self._judged:
            self._judged, self._ruling = failure, self._judge(failure)
        return _NOTHING if failure is None else self._ruling

    async def blame(self, server: Server, failure: BaseException, *, logged_on: bool) -> None:
        """Say who is at fault: the CM is avoided, a rate limit stops everybody behind our IP."""
        verdict = self.ruling(failure).verdict
        broke = verdict is None and isinstance(failure, SteamUnreachable)
        if verdict in MARKS_CM or (broke and not logged_on):
            self._ports.directory.mark_bad(server)
        if verdict in STOPS_IP:
            try:
                await self._ports.pacing.was_limited()
            except StoreUnavailable as error:  # nor can anybody ask for a turn now
                self._log.warning("rate_limit_untold", reason=str(error))

    async def let_go(
        self, failure: BaseException | None, *, pause_s: float | None, patience_s: float
    ) -> None:
        """Give the account back, cooled down if need be, or keep the lease for the next life.

        Args:
            failure: what ended the life.
            pause_s: for how long nobody tries the account, where that is no verdict of Steam's.
            patience_s: for how long to try while Redis is away.
        """
        if stays_leased(failure):
            return
        store, ruling = self._ports.store, self.ruling(failure)
        with contextlib.suppress(StoreUnavailable, LeaseLost):
            # A refused log-on forgets its token itself, even when there is no time to let go.
            if ruling.verdict is Verdict.TOKEN_DEAD and isinstance(failure, SteamUnreachable):
                await store.forget_token(self._lease)
            if pause_s is None:
                pause_s = ruling.cooldown_s
            if pause_s is not None:
                reason = as_reason(ruling.need) if ruling.need else str(failure)
                await store.cool_down(self._lease, pause_s, reason)
            await give_back(store, self._lease, for_s=patience_s, clock=self._ports.clock)

    def _judge(self, failure: BaseException) -> Ruling:
        verdict = judge(failure)
        if verdict is None:
            return _NOTHING
        self._tell(failure, verdict)
        account, now = self._lease.account, self._ports.clock.now()
        strikes = self._ports.strikes.add(account, verdict, now)
        verdict = after_strikes(verdict, strikes)
        need = need_of(failure) if verdict in NEEDS_PERSON else None
        if need is not None:
            self._log.error("account_needs_human", need=need)
        return Ruling(verdict, need, cooldown_s(verdict, strikes))

    def _tell(self, failure: BaseException, verdict: Verdict) -> None:
        if not isinstance(failure, LogOnRefused | SteamUnreachable) or failure.eresult is None:
            return
        self._ports.unknown_results.note(failure.eresult, failure.phase, self._log)
        if verdict is Verdict.OUR_BUG:
            self._log.error("message_refused", eresult=failure.eresult, phase=failure.phase)
