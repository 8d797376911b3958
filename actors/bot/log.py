"""Log of bot state changes: decides which of them are logged at `info`.

At info are: a bot is ready; it is not any more; the first failure of its own. All else is at debug: the
steps in between, the same failure again, and what is part of a cause that many bots share. Whether it is
part of one shows only when other bots fail too, so the line about such a failure is held back until then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.bot.eresults import LogonResult
from actors.bot.shared_causes import CauseKind, SharedCause, kind_of
from actors.bot.states import BotState
from actors.clock import Cancellable, Clock
from actors.errors import LeaseLost, ServiceError, StoreUnavailable

HOLD_S: Final = 20.0  # longer than a connection attempt that gets no answer
FEW: Final = 3  # accounts that fail while no other succeeds, before it is no news of more


@dataclass(frozen=True, slots=True)
class StateChange:
    """One change of a bot's state. `failure`: what it is due to, where that is one."""

    bot_id: str
    account: str | None
    before: BotState
    state: BotState
    reason: str | None
    failure: ServiceError | None
    verdict: LogonResult | None

    def write(self, log: FilteringBoundLogger, *, is_news: bool) -> None:
        """Write the line: at info if it is news, else at debug."""
        states = {"state_from": self.before.value, "state_to": self.state.value}
        facts = states | ({"reason": self.reason} if self.reason else {})
        if is_news:
            log.info("bot_state_changed", **facts)
        else:
            log.debug("bot_state_changed", **facts)


@dataclass(slots=True)
class _Failure:
    """The last failure of a bot since it was ready."""

    key: tuple[object, ...]  # what tells it from another one
    kind: CauseKind | None  # of the causes that it may be part of
    at: float  # clock seconds
    is_shared: bool
    held: Callable[[bool], None] | None = None  # writes the line that is held back
    alarm: Cancellable | None = None


class BotLog:
    """Knows the last failure of every bot of a process.

    `causes`: returns the shared causes that last. `hold_s`: seconds for which a line is held back.
    """

    def __init__(
        self, causes: Callable[[], Iterable[SharedCause]], *, clock: Clock, hold_s: float = HOLD_S
    ) -> None:
        self._causes = causes
        self._clock = clock
        self._hold_s = hold_s
        self._failures: dict[str, _Failure] = {}
        self._lasted_at: dict[CauseKind | None, float] = {}  # when a cause was seen last

    def note(self, change: StateChange, log: FilteringBoundLogger) -> CauseKind | None:
        """Log a change at the level that it is worth; return the shared cause that it is part of."""
        if change.failure is None:
            self._note_success(change, log)
            return None
        failure = self._note_failure(change, change.failure, log)
        return failure.kind if failure.is_shared else None

    def _note_success(self, change: StateChange, log: FilteringBoundLogger) -> None:
        is_ready = change.state is BotState.READY
        failure = self._failures.get(change.bot_id)
        if failure is not None and (is_ready or change.state is BotState.DRAINING):
            self._release(failure)
            del self._failures[change.bot_id]
        change.write(log, is_news=is_ready and (failure is None or not failure.is_shared))

    def _note_failure(
        self, change: StateChange, error: ServiceError, log: FilteringBoundLogger
    ) -> _Failure:
        before, kind = self._failures.get(change.bot_id), _kind(error, change.verdict)
        error.is_reported = True
        if before is not None and before.held is not None:
            if before.kind is kind:  # one line for both
                change.write(log, is_news=False)
                before.is_shared = self._lasts(kind)
                return before
            self._release(before)
        key = (change.account, type(error), getattr(error, "eresult", None))
        now = _Failure(key, kind, self._clock.now(), is_shared=self._lasts(kind))
        self._failures[change.bot_id] = now
        is_repeated = before is not None and before.key == key and not before.is_shared
        if kind is None or now.is_shared or is_repeated:
            error.is_reported = is_repeated or now.is_shared
            change.write(log, is_news=not error.is_reported)
        else:
            # An exception holds the frames that it went through, and with them the bot that has ended.
            line = replace(change, failure=None)
            now.held = lambda is_news: line.write(log, is_news=is_news)
            now.alarm = self._clock.call_at(now.at + self._hold_s, lambda: self._release(now))
        return now

    def _release(self, failure: _Failure) -> None:
        """Write the line that is held back, if there is one."""
        if failure.held is None:
            return
        write, failure.held = failure.held, None
        if failure.alarm is not None:
            failure.alarm.cancel()
        lasts, lasted_at = self._lasts(failure.kind), self._lasted_at.get(failure.kind, -math.inf)
        failure.is_shared = lasts or lasted_at >= failure.at
        write(not failure.is_shared)

    def _lasts(self, kind: CauseKind | None) -> bool:
        """Return whether a cause of that kind lasts."""
        lasts = kind is not None and any(one.kind is kind for one in self._causes())
        if lasts:
            self._lasted_at[kind] = self._clock.now()
        return lasts


class FirstFailures:
    """Tells the first failure of an account from repetitions, and its own from one that all share."""

    def __init__(self) -> None:
        self._failing: dict[str, set[object]] = {}  # account -> how it failed
        self._in_a_row = 0  # first failures since any account succeeded

    def is_news(self, account: str, how: object = None) -> bool:
        """Note a failure; return whether it is worth a line at info."""
        failed = self._failing.setdefault(account, set())
        if how in failed:
            return False
        failed.add(how)
        self._in_a_row += 1
        return self._in_a_row <= FEW

    def succeeded(self, account: str) -> None:
        """Note that an account does what it is for."""
        self._failing.pop(account, None)
        self._in_a_row = 0


def _kind(failure: ServiceError, verdict: LogonResult | None) -> CauseKind | None:
    """Return the kind of the causes that a failure may be part of; None: it is the bot's own."""
    if isinstance(failure, StoreUnavailable | LeaseLost):
        return CauseKind.REDIS_UNREACHABLE
    return kind_of(failure, verdict)
