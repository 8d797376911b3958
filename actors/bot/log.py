"""Log of bot state changes: decides which of them are logged at `info`.

At info: a bot is ready; it is no longer ready; the first failure of its own. At debug: the steps in
between, the same failure again, and failures due to a cause that many bots share. Whether a cause is
shared shows only when other bots fail too, so the line about such a failure is delayed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.bot.messages import BotChanged
from actors.bot.shared_causes import CauseKind, SharedCause, kind_of
from actors.bot.states import BotState
from actors.clock import Cancellable, Clock
from actors.errors import LeaseLost, ServiceError, StoreUnavailable

HOLD_S: Final = 20.0  # delay of a line; longer than a connection attempt without an answer
FEW: Final = 3  # first failures in a row that are logged at info while no account succeeds


@dataclass(frozen=True, slots=True)
class _Line:
    """The line about one change of state."""

    log: FilteringBoundLogger
    before: BotState
    change: BotChanged

    def write(self, *, is_news: bool) -> None:
        """Write it, at info or debug."""
        facts = {"state_from": self.before.value, "state_to": self.change.state.value}
        if self.change.reason:
            facts["reason"] = self.change.reason
        if is_news:
            self.log.info("bot_state_changed", **facts)
        else:
            self.log.debug("bot_state_changed", **facts)


@dataclass(slots=True)
class _Failure:
    """The last failure of a bot since it was ready."""

    key: tuple[object, ...]  # equal for the same failure again
    kind: CauseKind | None  # of the shared cause that it may be part of
    at: float  # clock seconds
    is_shared: bool
    held: _Line | None = None
    alarm: Cancellable | None = None


class BotLog:
    """Logs the state changes of all bots of a process. `causes`: returns the active shared causes."""

    def __init__(self, causes: Callable[[], Iterable[SharedCause]], *, clock: Clock) -> None:
        self._causes = causes
        self._clock = clock
        self._failures: dict[str, _Failure] = {}
        self._lasted_at: dict[CauseKind | None, float] = {}  # when a cause was active last

    def note(
        self,
        before: BotState,
        change: BotChanged,
        error: ServiceError | None,
        log: FilteringBoundLogger,
    ) -> CauseKind | None:
        """Log a change from state `before`, due to `error` if any; return that one's shared cause."""
        line = _Line(log, before, change)
        if error is None:
            self._note_success(change, line)
            return None
        failure = self._note_failure(change, error, line)
        return failure.kind if failure.is_shared else None

    def _note_success(self, change: BotChanged, line: _Line) -> None:
        is_ready = change.state is BotState.READY
        failure = self._failures.get(change.bot_id)
        if failure is not None and (is_ready or change.state is BotState.DRAINING):
            self._flush(failure)
            del self._failures[change.bot_id]
        line.write(is_news=is_ready and (failure is None or not failure.is_shared))

    def _note_failure(self, change: BotChanged, error: ServiceError, line: _Line) -> _Failure:
        before, kind = self._failures.get(change.bot_id), kind_of(error)
        if isinstance(error, StoreUnavailable | LeaseLost):
            kind = CauseKind.REDIS_UNREACHABLE
        error.is_reported = True
        if before is not None and before.held is not None:
            if before.kind is kind:  # the delayed line stands for both
                line.write(is_news=False)
                before.is_shared = self._lasts(kind)
                return before
            self._flush(before)
        key = (change.account, type(error), getattr(error, "eresult", None))
        now = _Failure(key, kind, self._clock.now(), is_shared=self._lasts(kind))
        self._failures[change.bot_id] = now
        is_repeated = before is not None and before.key == key and not before.is_shared
        if kind is None or now.is_shared or is_repeated:
            error.is_reported = is_repeated or now.is_shared
            line.write(is_news=not error.is_reported)
        else:
            now.held = line
            now.alarm = self._clock.call_at(now.at + HOLD_S, partial(self._flush, now))
        return now

    def _flush(self, failure: _Failure) -> None:
        """Write the delayed line, if there is one."""
        if failure.held is None:
            return
        line, failure.held = failure.held, None
        if failure.alarm is not None:
            failure.alarm.cancel()
        lasts, lasted_at = self._lasts(failure.kind), self._lasted_at.get(failure.kind, -math.inf)
        failure.is_shared = lasts or lasted_at >= failure.at
        line.write(is_news=not failure.is_shared)

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
