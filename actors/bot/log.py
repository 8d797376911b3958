"""Log of bot state changes: decides which of them are logged at `info`.

At info: a bot is ready; it is no longer ready; the first failure of its own. At debug: the steps in
between, the same failure again, and failures due to a cause that many bots share. Whether a cause is
shared shows only when other bots fail too, so the line about such a failure is delayed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.bot.eresults import LogonResult
from actors.bot.shared_causes import CauseKind, SharedCause, kind_of
from actors.bot.states import BotState
from actors.clock import Cancellable, Clock
from actors.errors import LeaseLost, ServiceError, StoreUnavailable

HOLD_S: Final = 20.0  # delay of a line; longer than a connection attempt without an answer
FEW: Final = 3  # first failures in a row that are logged at info while no account succeeds


@dataclass(frozen=True, slots=True)
class StateChange:
    """One change of a bot's state, and the failure that caused it, if any."""

    bot_id: str
    account: str | None
    before: BotState
    state: BotState
    reason: str | None
    failure: ServiceError | None
    result: LogonResult | None

    def write(self, log: FilteringBoundLogger, *, is_news: bool) -> None:
        """Write the line, at info or debug."""
        states = {"state_from": self.before.value, "state_to": self.state.value}
        facts = states | ({"reason": self.reason} if self.reason else {})
        if is_news:
            log.info("bot_state_changed", **facts)
        else:
            log.debug("bot_state_changed", **facts)


@dataclass(slots=True)
class _Failure:
    """The last failure of a bot since it was ready."""

    key: tuple[object, ...]  # equal for the same failure again
    kind: CauseKind | None  # of the shared cause that it may be part of
    at: float  # clock seconds
    is_shared: bool
    held: tuple[StateChange, FilteringBoundLogger] | None = None  # the delayed line
    alarm: Cancellable | None = None


class BotLog:
    """Logs the state changes of all bots of a process. `causes`: returns the active shared causes."""

    def __init__(self, causes: Callable[[], Iterable[SharedCause]], *, clock: Clock) -> None:
        self._causes = causes
        self._clock = clock
        self._failures: dict[str, _Failure] = {}
        self._lasted_at: dict[CauseKind | None, float] = {}  # when a cause was active last

    def note(self, change: StateChange, log: FilteringBoundLogger) -> CauseKind | None:
        """Log a change; return the shared cause of its failure, if any."""
        if change.failure is None:
            self._note_success(change, log)
            return None
        failure = self._note_failure(change, change.failure, log)
        return failure.kind if failure.is_shared else None

    def _note_success(self, change: StateChange, log: FilteringBoundLogger) -> None:
        is_ready = change.state is BotState.READY
        failure = self._failures.get(change.bot_id)
        if failure is not None and (is_ready or change.state is BotState.DRAINING):
            self._flush(failure)
            del self._failures[change.bot_id]
        change.write(log, is_news=is_ready and (failure is None or not failure.is_shared))

    def _note_failure(
        self, change: StateChange, error: ServiceError, log: FilteringBoundLogger
    ) -> _Failure:
        before, kind = self._failures.get(change.bot_id), kind_of(error, change.result)
        if isinstance(error, StoreUnavailable | LeaseLost):
            kind = CauseKind.REDIS_UNREACHABLE
        error.is_reported = True
        if before is not None and before.held is not None:
            if before.kind is kind:  # the delayed line stands for both
                change.write(log, is_news=False)
                before.is_shared = self._lasts(kind)
                return before
            self._flush(before)
        key = (change.account, type(error), getattr(error, "eresult", None))
        now = _Failure(key, kind, self._clock.now(), is_shared=self._lasts(kind))
        self._failures[change.bot_id] = now
        is_repeated = before is not None and before.key == key and not before.is_shared
        if kind is None or now.is_shared or is_repeated:
            error.is_reported = is_repeated or now.is_shared
            change.write(log, is_news=not error.is_reported)
        else:
            # Without the exception, whose traceback keeps the frames of the ended bot alive.
            now.held = replace(change, failure=None), log
            now.alarm = self._clock.call_at(now.at + HOLD_S, partial(self._flush, now))
        return now

    def _flush(self, failure: _Failure) -> None:
        """Write the delayed line, if there is one."""
        if failure.held is None:
            return
        (change, log), failure.held = failure.held, None
        if failure.alarm is not None:
            failure.alarm.cancel()
        lasts, lasted_at = self._lasts(failure.kind), self._lasted_at.get(failure.kind, -math.inf)
        failure.is_shared = lasts or lasted_at >= failure.at
        change.write(log, is_news=not failure.is_shared)

    def _lasts(self, kind: CauseKind | None) -> bool:
        """Return whether a cause of that kind is active."""
        lasts = kind is not None and any(one.kind is kind for one in self._causes())
        if lasts:
            self._lasted_at[kind] = self._clock.now()
        return lasts


class FirstFailures:
    """Decides which account failures are logged at info: the first of a kind, and few in a row."""

    def __init__(self) -> None:
        self._failing: dict[str, set[object]] = {}  # account -> how it failed
        self._in_a_row = 0  # first failures since any account succeeded

    def is_news(self, account: str, how: object = None) -> bool:
        """Note a failure; return whether it is logged at info."""
        failed = self._failing.setdefault(account, set())
        if how in failed:
            return False
        failed.add(how)
        self._in_a_row += 1
        return self._in_a_row <= FEW

    def succeeded(self, account: str) -> None:
        """Note a success of the account."""
        self._failing.pop(account, None)
        self._in_a_row = 0
