"""BotRegistry: the state of every bot, held once; notifies its subscribers of each change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Protocol

from structlog.typing import FilteringBoundLogger

from actors.bot.messages import BotChanged, BotRemoved, BotReport
from actors.bot.shared_causes import CauseKind
from actors.bot.states import BotState
from actors.clock import Clock
from actors.errors import LocalProtocolError

# States that a failure of the bot itself ends in.
FAILED: Final = frozenset({BotState.BACKING_OFF, BotState.NEEDS_HUMAN, BotState.EXHAUSTED})
# States of a bot whose run has ended.
ENDED: Final = FAILED | {BotState.PARKED, BotState.STOPPED}


class Subscriber(Protocol):
    """A receiver of bot changes, e.g. the `Address` of an actor."""

    @property
    def name(self) -> str:
        """The name in the log."""

    def tell(self, message: BotChanged | BotRemoved) -> None:
        """Deliver one change, without waiting."""


@dataclass(slots=True)
class _Record:
    """What the registry holds of one bot."""

    report: BotReport
    entered_at: float  # clock seconds: when the bot entered its state
    latest: BotChanged | None = None  # the newest change that subscribers were told
    error_at: float | None = None  # clock seconds: of the supervisor's newest error


class BotRegistry:
    """Holds one record per bot: what the bot reports, and what the supervisor does with it."""

    def __init__(self, *, stable_after_s: float, clock: Clock, log: FilteringBoundLogger) -> None:
        """`stable_after_s`: seconds ready after which a bot's last error is dropped."""
        self._stable_after_s = stable_after_s
        self._clock = clock
        self._log = log
        self._bots: dict[str, _Record] = {}
        self._subscribers: list[Subscriber] = []

    def reconfigure(self, *, stable_after_s: float) -> None:
        """Change the limits."""
        self._stable_after_s = stable_after_s

    def subscribe(self, subscriber: Subscriber) -> None:
        """Tell `subscriber` the latest change of every bot now, and each later change.

        An actor subscribes at each start; a repeated subscription only replays.
        """
        if subscriber not in self._subscribers:
            self._subscribers.append(subscriber)
        for record in self._bots.values():
            if (latest := record.latest) is not None:
                if latest.goes_on_in is not None:
                    left_s = (record.report.next_try_at or 0.0) - self._clock.wall()
                    latest = replace(latest, goes_on_in=max(0.0, left_s))
                self._tell(subscriber, latest)

    def reports(self) -> tuple[BotReport, ...]:
        """Return the report of every bot, oldest first."""
        ready_before = self._clock.now() - self._stable_after_s
        for record in self._bots.values():
            is_stable = record.report.state is BotState.READY and record.entered_at <= ready_before
            if is_stable and record.report.last_error is not None:
                record.report = replace(record.report, last_error=None, last_error_at=None)
        return tuple(record.report for record in self._bots.values())

    # -- what is reported ----------------------------------------------------------------------

    def changed(self, change: BotChanged) -> None:
        """Record a change that the bot reports, and publish it."""
        record, now = self._entered(change.bot_id, change.state), self._clock.wall()
        report = record.report
        if change.reason is not None:
            report = replace(report, last_error=change.reason, last_error_at=now)
        record.report = replace(
            report,
            account=change.account,
            next_try_at=None if change.goes_on_in is None else now + change.goes_on_in,
            up_since=_up_since(report, change, now),
            ip=report.ip if change.ready_bot is None else change.ready_bot.ip,
            waits=change.waits,
            cause=_cause(report, change),
        )
        self._publish(record, change)

    def supervised(
        self,
        bot_id: str,
        state: BotState | None,
        *,
        restarts: int = 0,
        last_error: str | None = None,
        last_error_at: float | None = None,
        next_try_in: float | None = None,
    ) -> None:
        """Record what the supervisor does with a bot; publish when its next run begins.

        `state`: BACKING_OFF, PARKED or STOPPED; None during a run. `restarts`: runs after the first.
        `last_error`, `last_error_at`: how and when (clock seconds) the last failed run ended.
        `next_try_in`: seconds until the next run.
        """
        known = self._bots.get(bot_id)
        before = known.report.state if known else BotState.WAITING_FOR_ACCOUNT
        record = self._entered(bot_id, state or before)
        report, now = record.report, self._clock.wall()
        if last_error_at is not None and record.error_at != last_error_at:
            record.error_at = last_error_at  # each later status repeats it
            at = now - (self._clock.now() - last_error_at)
            report = replace(report, last_error=last_error, last_error_at=at)
        record.report = replace(
            report,
            restarts=restarts,
            next_try_at=None if next_try_in is None else now + next_try_in,
            up_since=report.up_since if state is None else None,
            waits=report.waits if state is None else None,
        )
        if next_try_in is not None:
            # A bot that crashed has not reported its end. An EXHAUSTED one takes another account.
            latest, waiting = record.latest, BotState.BACKING_OFF
            if latest is not None and latest.state in ENDED:
                waiting = latest.state
            self._publish(record, BotChanged(bot_id, waiting, goes_on_in=next_try_in))

    def remove(self, bot_id: str) -> None:
        """Drop a bot that no longer exists, and publish that."""
        self._bots.pop(bot_id, None)
        for subscriber in self._subscribers:
            self._tell(subscriber, BotRemoved(bot_id))

    # -- inside --------------------------------------------------------------------------------

    def _entered(self, bot_id: str, state: BotState) -> _Record:
        """Return the record of a bot that is in `state` now."""
        record = self._bots.get(bot_id)
        if record is None:
            report = BotReport(bot_id, state, self._clock.wall(), None, 0, None, None)
            record = self._bots[bot_id] = _Record(report, self._clock.now())
        elif record.report.state is not state:
            record.report = replace(record.report, state=state, since=self._clock.wall())
            record.entered_at = self._clock.now()
        return record

    def _publish(self, record: _Record, change: BotChanged) -> None:
        record.latest = change
        for subscriber in self._subscribers:
            self._tell(subscriber, change)

    def _tell(self, subscriber: Subscriber, message: BotChanged | BotRemoved) -> None:
        try:
            subscriber.tell(message)
        except LocalProtocolError as error:  # it subscribes again at its next start
            self._log.warning("bot_update_dropped", subscriber=subscriber.name, reason=str(error))
        except Exception as error:  # noqa: BLE001 - a subscriber's bug must not end the bot
            kind = type(error).__name__
            self._log.exception("observer_failed", observer=subscriber.name, error_type=kind)


def _up_since(report: BotReport, change: BotChanged, now: float) -> float | None:
    if change.state is BotState.READY:
        return report.up_since or now
    return report.up_since if change.state is BotState.LAUNCHING else None


def _cause(report: BotReport, change: BotChanged) -> CauseKind | None:
    """Return the shared cause of the last failure; it ends when the bot is ready again."""
    if change.state is BotState.READY or change.state in FAILED:
        return change.cause
    return change.cause or report.cause
