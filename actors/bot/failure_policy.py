"""Applies the consequences of a failed bot run: CM, log-ons from this IP, account.

One instance per life, from the checkout on. The states and the order of the cleanup belong to the bot.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.accounts.models import Lease
from actors.bot.eresults import (
    AVOID_S,
    CONFIRM_S,
    CONFIRMED_S,
    IN_USE_ELSEWHERE,
    MARKS_CM,
    NEEDS_PERSON,
    RETRY_AFTER_S,
    SHARED_COOLDOWN_S,
    SHARED_LONGEST_WAIT_S,
    SHARED_WAIT_SHARE,
    STOPS_IP,
    TO_CONFIRM,
    LogonResult,
    after_strikes,
    as_reason,
    classify,
    cooldown_s,
    need_of,
    stays_leased,
)
from actors.bot.logon import give_back, note_limit
from actors.bot.ports import BotMemory, BotPorts
from actors.bot.shared_causes import NEVER_OWN, CauseKind, kind_of
from actors.errors import (
    AccountError,
    LeaseLost,
    LogOnRefused,
    ServiceError,
    SteamError,
    SteamUnreachable,
    StoreUnavailable,
)
from actors.steam.port import Server


@dataclass(frozen=True, slots=True)
class Ruling:
    """What follows from a failure.

    Attributes:
        need: what a person has to do.
        cooldown_s: for how many seconds no bot tries the account.
        is_strike: it was counted against the account.
        to_lift: accounts and the reasons of their cooldowns, which are lifted.
    """

    verdict: LogonResult | None = None
    need: str | None = None
    cooldown_s: float | None = None
    is_strike: bool = False
    to_lift: tuple[tuple[str, str], ...] = ()
    reason: str | None = None  # of the cooldown, where it is not the failure's text


_NOTHING: Final = Ruling()
SAID_AT: Final = 2  # strikes: once may be a lease that was lost
UNEXPECTED: Final = "unexpected"  # counted with the verdicts, though Steam did not say it
UNEXPECTED_S: Final = 30.0
LONGEST_UNEXPECTED_S: Final = 600.0


class FailurePolicy:
    """Classifies failures, and marks the CM, the IP and the account accordingly."""

    def __init__(
        self, bot_id: str, ports: BotPorts, lease: Lease, *, log: FilteringBoundLogger
    ) -> None:
        self._bot_id = bot_id
        self._ports = ports
        self._lease = lease
        self._log = log
        self._began = ports.clock.wall()
        ports.causes.began(bot_id)
        self._judged: BaseException | None = None
        self._ruling = _NOTHING

    @property
    def verdict(self) -> LogonResult | None:
        """What was judged so far."""
        return self._ruling.verdict

    def ruling(self, failure: BaseException | None) -> Ruling:
        """Judge what ended this life. A life ends once: asked again, the same is said again."""
        if failure is not None and failure is not self._judged:
            self._judged, self._ruling = failure, self._judge(failure)
        return _NOTHING if failure is None else self._ruling

    async def blame(self, server: Server, failure: BaseException, *, logged_on: bool) -> None:
        """Mark the culprit: avoid the CM, or pause all log-ons from this IP after a rate limit."""
        verdict = self.ruling(failure).verdict
        broke = verdict is None and isinstance(failure, SteamUnreachable)
        if verdict in MARKS_CM or (broke and not logged_on):
            self._ports.directory.mark_bad(server)
        if verdict in STOPS_IP:
            try:
                note_limit(self._bot_id, self._ports, await self._ports.pacing.was_limited())
            except StoreUnavailable as error:  # nor can anybody ask for a turn now
                self._log.warning("rate_limit_untold", reason=str(error))

    def logged_on(self) -> None:
        """Note that Steam has let the account in."""
        account, ports = self._lease.account, self._ports
        ports.strikes.succeeded(account, ports.clock.now())
        ports.causes.succeeded(self._bot_id, account, ports.clock.wall())

    async def let_go(
        self, failure: BaseException | None, *, pause_s: float | None, patience_s: float
    ) -> None:
        """Give the account back, cooled down if need be, or keep the lease for the next life.

        Args:
            failure: what ended the life.
            pause_s: cooldown of the account in seconds, where Steam's verdict sets none.
            patience_s: for how long to try while Redis is away.
        """
        if stays_leased(failure):
            return
        store, ruling = self._ports.store, self.ruling(failure)
        with contextlib.suppress(StoreUnavailable, LeaseLost):
            # A refused log-on forgets its token itself, even when there is no time to let go.
            if ruling.verdict is LogonResult.TOKEN_DEAD and isinstance(failure, SteamUnreachable):
                await store.forget_token(self._lease)
            reason = as_reason(ruling.need) if ruling.need else ruling.reason or str(failure)
            if pause_s is None and self._still_counts(reason):
                pause_s = ruling.cooldown_s
            if pause_s is not None:
                # The same credentials are tried once a day: Steam also refuses good accounts while its
                # own parts are in trouble. What mails a code or asks in the app waits for a person.
                repeated_s = max(pause_s, CONFIRMED_S) if ruling.need else None
                await store.cool_down(self._lease, pause_s, reason, repeated_s=repeated_s)
            await give_back(store, self._lease, for_s=patience_s, clock=self._ports.clock)
            for account, written in ruling.to_lift:
                await store.lift_cooldown(account, written)

    def _still_counts(self, reason: str) -> bool:
        """Note the reason of a cooldown; tell whether its strike has not been forgiven meanwhile."""
        ruling = self._ruling
        if ruling.verdict is None or not ruling.is_strike:
            return True
        return self._ports.strikes.cooled(self._lease.account, ruling.verdict, reason)

    async def take_spare(self, memory: BotMemory) -> bool:
        """Check another account out for the next life; return whether one was free."""
        try:
            memory.account = (await self._ports.store.acquire(self._lease.holder)).account
        except AccountError:
            return False
        return True

    def _judge(self, failure: BaseException) -> Ruling:
        verdict = classify(failure)
        shared = self._note_cause(failure, verdict)
        if verdict is None:
            return self._unexpected(failure)
        if isinstance(failure, LogOnRefused | SteamUnreachable) and failure.eresult is not None:
            self._ports.unknown_results.note(failure.eresult, failure.phase, self._log)
        if verdict is LogonResult.NOT_HERE:
            reason = self._ports.own_faults.note(self._lease.account, failure, self._log)
            self._ports.store.avoid(self._lease.account, AVOID_S, reason)
            return Ruling(verdict)
        if shared is CauseKind.SAME_REFUSAL:
            assert isinstance(failure, LogOnRefused | SteamUnreachable)  # noqa: S101 - see kind_of()
            assert failure.eresult is not None  # noqa: S101 - as above
            return self._shared_ruling(failure, verdict, failure.eresult)
        return self._own_ruling(failure, verdict)

    def _note_cause(self, failure: BaseException, verdict: LogonResult | None) -> CauseKind | None:
        """Return the cause that other bots share; the failure learns whether it is external."""
        causes, kind = self._ports.causes, kind_of(failure, verdict)
        shared = causes.failed(
            self._bot_id, self._lease.account, failure, verdict, self._ports.clock.wall()
        )
        if not isinstance(failure, ServiceError):
            return shared
        failure.is_external = failure.is_external or shared is not None or kind in NEVER_OWN
        if verdict is LogonResult.TOKEN_DEAD and isinstance(failure, LogOnRefused):
            failure.is_blameless = True  # the token is forgotten: the next life takes the password
        elif kind is CauseKind.STEAM_UNREACHABLE and causes.steam_came_back_since(self._began):
            failure.is_blameless = True  # an attempt from before Steam came back
        if isinstance(failure, SteamError) and failure.retry_after is None and verdict is not None:
            failure.retry_after = RETRY_AFTER_S.get(verdict)
        return shared

    def _shared_ruling(
        self, failure: LogOnRefused | SteamUnreachable, verdict: LogonResult, eresult: int
    ) -> Ruling:
        """Blame no account: what the others were blamed for within the last minute is taken back."""
        ports, now = self._ports, self._ports.clock.wall()
        lasts_s = ports.causes.refused_for(eresult, now)
        failure.retry_after = min(SHARED_LONGEST_WAIT_S, lasts_s * SHARED_WAIT_SHARE)
        refused = ports.causes.refused_accounts(eresult, now)
        forgiven = [(account, ports.strikes.forgive(account, verdict)) for account in refused]
        lifted = [(account, reason) for account, reason in forgiven if reason is not None]
        return Ruling(
            verdict,
            cooldown_s=SHARED_COOLDOWN_S.get(verdict),
            is_strike=False,
            to_lift=tuple(lifted),
        )

    def _unexpected(self, failure: BaseException) -> Ruling:
        """Let an account rest on which a life failed in a way that no table knows, each time for longer.

        It may be what is stored for the account. Our own errors say themselves what they mean. What the
        operating system refuses (memory, disk, files) is this instance's fault, and rests no account.
        """
        own = (ServiceError, OSError, MemoryError)
        if isinstance(failure, own) or not isinstance(failure, Exception):
            return _NOTHING
        strike = self._ports.strikes.add(self._lease.account, UNEXPECTED, self._ports.clock.now())
        pause_s = min(LONGEST_UNEXPECTED_S, UNEXPECTED_S * 2.0 ** min(strike.count - 1, 10))
        # Without its text, which may hold a secret.
        reason = f"an unexpected error in a bot: {type(failure).__name__}"
        return Ruling(cooldown_s=pause_s, reason=reason)

    def _own_ruling(self, failure: BaseException, verdict: LogonResult) -> Ruling:
        strike = self._ports.strikes.add(self._lease.account, verdict, self._ports.clock.now())
        struck, verdict = verdict, after_strikes(verdict, strike.count)
        confirmed = verdict in TO_CONFIRM and strike.for_s >= CONFIRM_S
        if verdict is LogonResult.OUR_BUG:
            confirmed = confirmed and strike.others_log_on
        seconds = cooldown_s(verdict, strike.count, confirmed=confirmed)
        if struck is LogonResult.UNKNOWN and verdict is LogonResult.NEEDS_HUMAN:
            seconds = CONFIRMED_S  # a person may not be able to end it
        if confirmed and verdict is LogonResult.OUR_BUG:
            assert isinstance(failure, LogOnRefused | SteamUnreachable)  # noqa: S101 - see judge()
            self._log.error("message_refused", eresult=failure.eresult, phase=failure.phase)
        if verdict in IN_USE_ELSEWHERE and strike.count == SAID_AT:
            self._log.warning("account_used_elsewhere", reason=str(failure), delay_s=seconds)
        need = None
        if verdict in NEEDS_PERSON and (confirmed or verdict not in TO_CONFIRM):
            need = need_of(failure)
            self._log.error("account_needs_human", need=need)
        return Ruling(verdict, need, seconds, is_strike=verdict is struck)
