"""Consequences of a failed run: cooldown of the account (HANDLING), bad CM, pause of log-ons, release."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.accounts.models import UNTIL_ACTED_S, Lease
from actors.bot.eresults import LogonResult, action_reason, classify, is_known, operator_action
from actors.bot.leases import release
from actors.bot.logon import note_limit
from actors.bot.ports import BotMemory, BotPorts
from actors.bot.shared_causes import NEVER_OWN, CauseKind, kind_of
from actors.clock import backoff_s
from actors.errors import (
    AccountError,
    CannotDecrypt,
    ClockUncertain,
    LeaseLost,
    LogOnRefused,
    ServiceError,
    SteamError,
    SteamUnreachable,
    StoreUnavailable,
)
from actors.steam.port import Server

MINUTE_S: Final = 60.0
HOUR_S: Final = 3600.0
CONFIRM_S: Final = 10 * MINUTE_S
CONFIRMED_S: Final = 24 * HOUR_S
LONGEST_GROWN_S: Final = HOUR_S
AVOID_S: Final = 30 * MINUTE_S  # for which this process does not check out a NOT_HERE account
# The longer a shared refusal lasts, the rarer the log-ons: refused ones count most.
SHARED_WAIT_SHARE: Final = 0.25  # of its duration so far
SHARED_LONGEST_WAIT_S: Final = 2 * MINUTE_S
IN_USE_ELSEWHERE: Final = frozenset({LogonResult.PLAYING_ELSEWHERE, LogonResult.REPLACED})
USED_ELSEWHERE_AT: Final = 2  # failures before it is logged: one may come from a lost lease
UNEXPECTED: Final = "unexpected"  # counted like a LogonResult
UNEXPECTED_S: Final = 30.0
LONGEST_UNEXPECTED_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Handling:
    """Consequences of a result.

    Attributes:
        cooldown_s: of the account, for all instances; None: the account is not the culprit.
        shared_cooldown_s: the same for an account that was refused together with others.
        retry_after_s: that the bot waits before its backoff begins.
        grows: the cooldown doubles with each failure.
        tolerated: failures within `FORGET_S`; the next one needs an operator.
        marks_cm: the CM is avoided.
        stops_ip: all log-ons from this IP are paused.
        needs_operator: an operator has to act.
        must_be_confirmed: Steam also gives this result to good accounts during its own outages. A second
            one at least `CONFIRM_S` later confirms it; then the account is tried once in `CONFIRMED_S`.
    """

    cooldown_s: float | None = None
    shared_cooldown_s: float | None = None
    retry_after_s: float | None = None
    grows: bool = False
    tolerated: int | None = None
    marks_cm: bool = False
    stops_ip: bool = False
    needs_operator: bool = False
    must_be_confirmed: bool = False


HANDLING: Final[Mapping[LogonResult | None, Handling]] = {
    None: Handling(),  # Steam gave no result
    LogonResult.RETRY: Handling(),
    LogonResult.OTHER_CM: Handling(marks_cm=True),
    LogonResult.TRY_LATER: Handling(retry_after_s=15.0, marks_cm=True),
    LogonResult.ONCE_MORE: Handling(tolerated=1),
    LogonResult.UNKNOWN: Handling(2 * MINUTE_S, grows=True, tolerated=2),
    LogonResult.TOKEN_DEAD: Handling(),
    # Steam also says so when it means "too often". Refused passwords, even correct ones, count towards
    # its limit of log-ons.
    LogonResult.WRONG_PASSWORD: Handling(30 * MINUTE_S, 2 * MINUTE_S, needs_operator=True),
    LogonResult.RATE_LIMITED: Handling(stops_ip=True),
    LogonResult.THROTTLED: Handling(30 * MINUTE_S, stops_ip=True),
    LogonResult.IP_BANNED: Handling(stops_ip=True, needs_operator=True),
    # No cooldown: an upgrade makes every account usable again.
    LogonResult.OUTDATED: Handling(stops_ip=True, needs_operator=True),
    LogonResult.PLAYING_ELSEWHERE: Handling(5 * MINUTE_S, grows=True),
    # Meanwhile the other instance detects its lost lease.
    LogonResult.REPLACED: Handling(2 * MINUTE_S, grows=True),
    # Each try sends a mail, asks in the app or counts at Steam.
    LogonResult.NEEDS_HUMAN: Handling(UNTIL_ACTED_S, needs_operator=True),
    LogonResult.NOT_HERE: Handling(),
    LogonResult.UNUSABLE: Handling(
        2 * MINUTE_S, grows=True, needs_operator=True, must_be_confirmed=True
    ),
    LogonResult.OUR_BUG: Handling(2 * MINUTE_S, grows=True, must_be_confirmed=True),
}


def cooldown_s(result: LogonResult, failures: int, *, confirmed: bool = False) -> float | None:
    """Return the cooldown of the account in seconds; None when it is not the culprit.

    `failures`: with this result within `FORGET_S`. `confirmed`: see `Handling.must_be_confirmed`.
    """
    if confirmed:
        return CONFIRMED_S
    handling = HANDLING[result]
    if handling.cooldown_s is None or not handling.grows:
        return handling.cooldown_s
    return backoff_s(failures, base=handling.cooldown_s, cap=LONGEST_GROWN_S)


@dataclass(frozen=True, slots=True)
class Consequences:
    """What follows from a failure for the account.

    Attributes:
        result: None when Steam gave none.
        action: what an operator has to provide.
        cooldown_s: seconds in which no bot tries the account.
        reason: of the cooldown, where it is not the failure's text.
        counted: the result under which the account's failure is counted, if it is.
        to_lift: accounts whose cooldowns with these reasons are lifted.
    """

    result: LogonResult | None = None
    action: str | None = None
    cooldown_s: float | None = None
    reason: str | None = None
    counted: LogonResult | None = None
    to_lift: tuple[tuple[str, str], ...] = ()


class FailurePolicy:
    """Classifies the failure of one run, and marks the CM, the IP and the account accordingly."""

    def __init__(
        self, bot_id: str, ports: BotPorts, lease: Lease, *, log: FilteringBoundLogger
    ) -> None:
        self._bot_id = bot_id
        self._ports = ports
        self._lease = lease
        self._log = log
        self._began = ports.clock.wall()
        ports.causes.began(bot_id)
        self._classified: BaseException | None = None
        self.consequences = Consequences()  # of the last classified failure

    def classify(self, failure: BaseException) -> Consequences:
        """Return the consequences of the failure that ended the run; counted once per failure."""
        if failure is not self._classified:
            self._classified, self.consequences = failure, self._classify(failure)
        return self.consequences

    async def mark_culprit(
        self, server: Server, failure: BaseException, *, logged_on: bool
    ) -> None:
        """Mark the CM bad, or pause all log-ons from this IP after a rate limit."""
        result = self.classify(failure).result
        broke = result is None and isinstance(failure, SteamUnreachable)
        if HANDLING[result].marks_cm or (broke and not logged_on):
            self._ports.directory.mark_bad(server)
        if HANDLING[result].stops_ip:
            try:
                note_limit(self._bot_id, self._ports, await self._ports.limiter.was_limited())
            except StoreUnavailable as error:  # until Redis is back no log-on starts anyway
                self._log.warning("rate_limit_not_stored", reason=str(error))

    def logged_on(self) -> None:
        """Note a successful log-on of the account."""
        account, ports = self._lease.account, self._ports
        ports.metrics.allowed()
        ports.failures.succeeded(account, ports.clock.now())
        ports.causes.succeeded(self._bot_id, account, ports.clock.wall())

    async def release(
        self, failure: BaseException, *, pause_s: float | None, patience_s: float
    ) -> None:
        """Cool the account down if necessary and release it, or keep the lease for the next run.

        `failure`: what ended the run; `pause_s`: cooldown in seconds, None: as Steam's result demands;
        `patience_s`: for which to retry while Redis is unavailable.
        """
        # After a connection that broke without a log-off, Steam may still hold the session: the next run
        # takes the account back at once, another holder only after the lease has lapsed, which is later
        # than Steam's own timeout. After LeaseLost the account belongs to another holder.
        broke = isinstance(failure, SteamUnreachable) and failure.eresult is None
        if broke or isinstance(failure, LeaseLost | StoreUnavailable):
            return
        store, found = self._ports.store, self.classify(failure)
        with contextlib.suppress(StoreUnavailable, LeaseLost):
            # A refused log-on removes its token by itself.
            if found.result is LogonResult.TOKEN_DEAD and isinstance(failure, SteamUnreachable):
                await store.forget_token(self._lease)
            reason = action_reason(found.action) if found.action else found.reason or str(failure)
            account, counted = self._lease.account, found.counted
            # A failure may be retracted before its cooldown is written; see `_shared_refusal`.
            note = self._ports.failures.note_cooldown
            if pause_s is None and (counted is None or note(account, counted, reason)):
                pause_s = found.cooldown_s
            if pause_s is not None:
                # The same credentials are retried once a day, as Steam also refuses good accounts during
                # its own outages. A log-on that sends a code or asks in the app waits for an operator.
                repeated_s = max(pause_s, CONFIRMED_S) if found.action else None
                await store.cool_down(self._lease, pause_s, reason, repeated_s=repeated_s)
            await release(store, self._lease, for_s=patience_s, clock=self._ports.clock)
            for other, written in found.to_lift:
                await store.lift_cooldown(other, written)

    async def take_spare(self, memory: BotMemory) -> bool:
        """Check out another account for the next run; return whether one was free."""
        try:
            memory.account = (await self._ports.store.acquire(self._lease.holder)).account
        except AccountError:
            return False
        return True

    def _classify(self, failure: BaseException) -> Consequences:
        result = classify(failure)
        shared = self._note_cause(failure, result)
        if result is None:
            return self._unexpected(failure)
        if isinstance(failure, LogOnRefused | SteamUnreachable) and failure.eresult is not None:
            if not is_known(failure.eresult) and self._is_first(failure.eresult):
                self._log.warning("eresult_unknown", eresult=failure.eresult, phase=failure.phase)
            if shared is CauseKind.SAME_REFUSAL:
                return self._shared_refusal(failure, result, failure.eresult)
        if result is LogonResult.NOT_HERE:
            return self._unusable_here(failure)
        return self._own_failure(failure, result)

    def _is_first(self, key: object) -> bool:
        """Return True once per process for each key."""
        is_first = key not in self._ports.logged
        self._ports.logged.add(key)
        return is_first

    def _note_cause(self, failure: BaseException, result: LogonResult | None) -> CauseKind | None:
        """Return the cause that other bots share; set the failure's flags for the supervisor."""
        causes, kind = self._ports.causes, kind_of(failure)
        account, now = self._lease.account, self._ports.clock.wall()
        shared = causes.failed(self._bot_id, account, failure, now)
        if not isinstance(failure, ServiceError):
            return shared
        failure.is_external = failure.is_external or shared is not None or kind in NEVER_OWN
        if result is LogonResult.TOKEN_DEAD and isinstance(failure, LogOnRefused):
            failure.is_blameless = True  # the token is removed: the next run uses the password
        elif kind is CauseKind.STEAM_UNREACHABLE and causes.steam_back_at >= self._began:
            failure.is_blameless = True  # an attempt from before Steam came back
        if isinstance(failure, SteamError) and failure.retry_after is None:
            failure.retry_after = HANDLING[result].retry_after_s
        return shared

    def _shared_refusal(
        self, failure: LogOnRefused | SteamUnreachable, result: LogonResult, eresult: int
    ) -> Consequences:
        """Count nothing against this account, and retract the last minute's failures of the others."""
        ports, now = self._ports, self._ports.clock.wall()
        lasts_s = ports.causes.refused_for(eresult, now)
        failure.retry_after = min(SHARED_LONGEST_WAIT_S, lasts_s * SHARED_WAIT_SHARE)
        refused = ports.causes.refused_accounts(eresult, now)
        retracted = [(account, ports.failures.retract(account, result)) for account in refused]
        lifted = [(account, reason) for account, reason in retracted if reason is not None]
        return Consequences(
            result, cooldown_s=HANDLING[result].shared_cooldown_s, to_lift=tuple(lifted)
        )

    def _unusable_here(self, failure: BaseException) -> Consequences:
        """Avoid the account in this process only: other instances may be able to use it.

        A wrong key or clock concerns every account and is logged once, a refused address per account.
        """
        account = self._lease.account
        is_shared = isinstance(failure, CannotDecrypt | ClockUncertain)
        reason = str(failure) if is_shared else f"it needs {operator_action(failure)}"
        if self._is_first(type(failure) if is_shared else account):
            self._log.error("account_unusable_here", reason=reason)
        self._ports.store.avoid(account, AVOID_S, reason)
        return Consequences(LogonResult.NOT_HERE)

    def _unexpected(self, failure: BaseException) -> Consequences:
        """Cool the account down after an unknown exception, which its stored values may cause.

        Not after errors of the service, whose meaning is known, nor of the operating system (memory,
        disk, files), which concern this instance.
        """
        own = (ServiceError, OSError, MemoryError)
        if isinstance(failure, own) or not isinstance(failure, Exception):
            return Consequences()
        ports = self._ports
        failures = ports.failures.add(self._lease.account, UNEXPECTED, ports.clock.now())
        return Consequences(
            cooldown_s=backoff_s(failures.count, base=UNEXPECTED_S, cap=LONGEST_UNEXPECTED_S),
            # Without the error's text, which may contain a secret.
            reason=f"an unexpected error in a bot: {type(failure).__name__}",
        )

    def _own_failure(self, failure: BaseException, counted: LogonResult) -> Consequences:
        """Count the failure against the account."""
        counter, now = self._ports.failures, self._ports.clock.now()
        failures = counter.add(self._lease.account, counted, now)
        tolerated = HANDLING[counted].tolerated
        is_tolerated = tolerated is None or failures.count <= tolerated
        result = counted if is_tolerated else LogonResult.NEEDS_HUMAN
        handling = HANDLING[result]
        confirmed = handling.must_be_confirmed and now - failures.first >= CONFIRM_S
        if result is LogonResult.OUR_BUG:  # and another account can log on
            confirmed = confirmed and counter.last_log_on >= failures.first
        seconds = cooldown_s(result, failures.count, confirmed=confirmed)
        if counted is LogonResult.UNKNOWN and result is LogonResult.NEEDS_HUMAN:
            seconds = CONFIRMED_S  # an operator may not be able to end it
        if confirmed and result is LogonResult.OUR_BUG:
            assert isinstance(failure, LogOnRefused | SteamUnreachable)  # noqa: S101 - see classify()
            self._log.error("message_refused", eresult=failure.eresult, phase=failure.phase)
        if result in IN_USE_ELSEWHERE and failures.count == USED_ELSEWHERE_AT:
            self._log.warning("account_used_elsewhere", reason=str(failure), delay_s=seconds)
        action = None
        if handling.needs_operator and (confirmed or not handling.must_be_confirmed):
            action = operator_action(failure)
            self._log.error("account_needs_human", need=action)
        return Consequences(result, action, seconds, counted=counted if result is counted else None)
