"""Status of every bot, and its observers.

An actor that is restarted (a router after a bug, say) has lost what it was told; `catch_up` tells it
the latest change of every bot again.

Bots report their changes, and the supervisor (through the tree) reports what it does with a bot between
two lives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol, assert_never

from structlog.typing import FilteringBoundLogger

from actors.actor import Actor, Address, Envelope
from actors.bot.messages import BotChanged, BotRemoved, BotReport, FleetReport, GetFleet
from actors.bot.shared_causes import CauseKind
from actors.bot.states import BotState
from actors.clock import WallClock
from actors.errors import LocalProtocolError


class Watcher(Protocol):
    """A receiver of bot changes, e.g. the `Address` of an actor."""

    @property
    def name(self) -> str:
        """Who it is, for the log."""

    def tell(self, message: BotChanged | BotRemoved) -> None:
        """Never waits."""


class Announcer:
    """Fan-out with a memory of one change per bot."""

    def __init__(self, watchers: tuple[Watcher, ...], *, log: FilteringBoundLogger) -> None:
        self._watchers = watchers
        self._log = log
        self._latest: dict[str, BotChanged] = {}

    def publish(self, change: BotChanged) -> None:
        """Tell every watcher; one that cannot listen now will catch up when it is back."""
        self._latest[change.bot_id] = change
        for watcher in self._watchers:
            self._tell(watcher, change)

    def forget(self, bot_id: str) -> None:
        """The bot does not exist any more: tell every watcher."""
        self._latest.pop(bot_id, None)
        for watcher in self._watchers:
            self._tell(watcher, BotRemoved(bot_id))

    def catch_up(self, watcher: Watcher) -> None:
        """Tell `watcher`, which has just started, how every bot is."""
        for change in self._latest.values():
            self._tell(watcher, change)

    def _tell(self, watcher: Watcher, change: BotChanged | BotRemoved) -> None:
        try:
            watcher.tell(change)
        except LocalProtocolError as error:
            self._log.warning("change_untold", watcher=watcher.name, reason=str(error))
        except Exception as error:  # noqa: BLE001 - a watcher's bug is no end of the bot it watches
            kind = type(error).__name__
            self._log.error(
                "observer_failed", observer=watcher.name, error_type=kind, exc_info=error
            )


@dataclass(frozen=True, slots=True)
class BotSupervised:
    """Tree -> roster: the supervisor did something with a bot."""

    bot_id: str
    state: BotState | None  # BACKING_OFF, PARKED or STOPPED; None while a life goes on
    restarts: int
    last_error: str | None
    next_try_in: float | None  # seconds
    last_error_at: float | None = None  # clock seconds


RosterMessage = BotChanged | BotSupervised | BotRemoved | GetFleet

# A fleet of a thousand that changes state at once must not fill the mailbox.
CAPACITY: Final = 16_384
# States that a failure of the bot itself ends in.
FAILED: Final = frozenset({BotState.BACKING_OFF, BotState.NEEDS_HUMAN, BotState.EXHAUSTED})


class Roster(Actor[RosterMessage]):
    """Actor that holds the latest report of every bot."""

    def __init__(
        self,
        *,
        address: Address[RosterMessage],
        catch_up: Callable[[Address[RosterMessage]], None],
        stable_after_s: Callable[[], float],
        clock: WallClock,
    ) -> None:
        """Make one.

        Args:
            address: where it is asked.
            catch_up: tells a roster that has just started how every bot is.
            stable_after_s: seconds ready after which a bot's last error is forgotten, by the settings
                of that moment.
            clock: both times.
        """
        super().__init__(address, clock=clock, capacity=CAPACITY)
        self._catch_up = catch_up
        self._wall = clock.wall
        self._stable_after_s = stable_after_s
        self._bots: dict[str, BotReport] = {}
        self._since: dict[str, float] = {}  # clock seconds: when each entered its state
        self._errors_told: dict[str, float] = {}  # clock seconds: of the last one by the supervisor

    async def start(self) -> None:
        """Take over the address and learn of the bots that are there already."""
        await super().start()
        self._catch_up(self.address)

    async def handle(self, envelope: Envelope[RosterMessage]) -> None:
        """One message."""
        match envelope.message:
            case BotChanged() as changed:
                self._on_bot_changed(changed)
            case BotSupervised() as supervised:
                self._on_bot_supervised(supervised)
            case BotRemoved(bot_id=bot_id):
                for known in (self._bots, self._since, self._errors_told):
                    known.pop(bot_id, None)
            case GetFleet():
                self._forget_old_errors()
                if envelope.reply is not None:
                    envelope.reply.set(FleetReport(tuple(self._bots.values())))
            case other:
                assert_never(other)

    def _on_bot_changed(self, changed: BotChanged) -> None:
        report, now = self._entered(changed.bot_id, changed.state), self._wall()
        if changed.reason is not None:
            report = replace(report, last_error=changed.reason, last_error_at=now)
        self._bots[changed.bot_id] = replace(
            report,
            account=changed.account,
            next_try_at=None if changed.goes_on_in is None else now + changed.goes_on_in,
            up_since=self._up_since(report, changed),
            ip=report.ip if changed.seat is None else changed.seat.ip,
            waits=changed.waits,
            cause=self._cause(report, changed),
        )

    def _up_since(self, report: BotReport, changed: BotChanged) -> float | None:
        if changed.state is BotState.READY:
            return report.up_since or self._wall()
        return report.up_since if changed.state is BotState.LAUNCHING else None

    @staticmethod
    def _cause(report: BotReport, changed: BotChanged) -> CauseKind | None:
        """Return the cause of the last failure: it is over when the bot is ready again."""
        if changed.state is BotState.READY or changed.state in FAILED:
            return changed.cause
        return changed.cause or report.cause

    def _on_bot_supervised(self, supervised: BotSupervised) -> None:
        bot_id, now = supervised.bot_id, self._wall()
        report = self._entered(bot_id, supervised.state or self._report(bot_id).state)
        error_at = supervised.last_error_at
        if error_at is not None and self._errors_told.get(bot_id) != error_at:
            self._errors_told[bot_id] = error_at  # it is told with every change
            at = now - (self._clock.now() - error_at)
            report = replace(report, last_error=supervised.last_error, last_error_at=at)
        self._bots[bot_id] = replace(
            report,
            restarts=supervised.restarts,
            next_try_at=None if supervised.next_try_in is None else now + supervised.next_try_in,
            up_since=report.up_since if supervised.state is None else None,
            waits=report.waits if supervised.state is None else None,
        )

    def _entered(self, bot_id: str, state: BotState) -> BotReport:
        """Return what is known of the bot, in this state."""
        report = self._report(bot_id)
        if report.state is not state or bot_id not in self._since:
            self._since[bot_id] = self._clock.now()
        if report.state is state:
            return report
        return replace(report, state=state, since=self._wall())

    def _forget_old_errors(self) -> None:
        """Drop the last error of each bot that has been ready for long enough since."""
        ready_before = self._clock.now() - self._stable_after_s()
        for bot_id, report in self._bots.items():
            is_stable = report.state is BotState.READY and self._since[bot_id] <= ready_before
            if is_stable and report.last_error is not None:
                self._bots[bot_id] = replace(report, last_error=None, last_error_at=None)

    def _report(self, bot_id: str) -> BotReport:
        return self._bots.get(bot_id) or BotReport(
            bot_id=bot_id,
            state=BotState.WAITING_FOR_ACCOUNT,
            since=self._wall(),
            account=None,
            restarts=0,
            last_error=None,
            next_try_at=None,
        )
