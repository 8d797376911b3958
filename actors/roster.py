"""The roster: what is known of every bot, for those who look at the fleet.

Bots tell it their changes, the supervisor (through the tree) tells it what it does with them between
two lives; anybody may ask for the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, assert_never

from actors.actor import Actor, Address, Envelope
from actors.bot_states import BotState
from actors.clock import WallClock
from actors.messages import BotChanged, BotRemoved, BotReport, FleetReport, GetFleet
from actors.shared_causes import CauseKind


@dataclass(frozen=True, slots=True)
class BotSupervised:
    """Tree -> roster: the supervisor did something with a bot."""

    bot_id: str
    state: BotState | None  # BACKING_OFF, PARKED or STOPPED; None while a life goes on
    restarts: int
    last_error: str | None
    next_try_in: float | None  # seconds


RosterMessage = BotChanged | BotSupervised | BotRemoved | GetFleet

# A fleet of a thousand that changes state at once must not fill the mailbox.
CAPACITY: Final = 16_384
# States that a failure of the bot itself ends in.
FAILED: Final = frozenset({BotState.BACKING_OFF, BotState.NEEDS_HUMAN, BotState.EXHAUSTED})


class Roster(Actor[RosterMessage]):
    """See the module."""

    def __init__(
        self,
        *,
        address: Address[RosterMessage],
        catch_up: Callable[[Address[RosterMessage]], None],
        clock: WallClock,
    ) -> None:
        """`catch_up` tells a roster that has just started how every bot is."""
        super().__init__(address, clock=clock, capacity=CAPACITY)
        self._catch_up = catch_up
        self._wall = clock.wall
        self._bots: dict[str, BotReport] = {}

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
                self._bots.pop(bot_id, None)
            case GetFleet():
                if envelope.reply is not None:
                    envelope.reply.set(FleetReport(tuple(self._bots.values())))
            case other:
                assert_never(other)

    def _on_bot_changed(self, changed: BotChanged) -> None:
        report = self._report(changed.bot_id)
        since = report.since if report.state is changed.state else self._wall()
        self._bots[changed.bot_id] = replace(
            report,
            state=changed.state,
            since=since,
            account=changed.account,
            last_error=changed.reason or report.last_error,
            next_try_at=None,
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
        report = self._report(supervised.bot_id)
        now = self._wall()
        state = supervised.state or report.state
        self._bots[supervised.bot_id] = replace(
            report,
            state=state,
            since=report.since if report.state is state else now,
            restarts=supervised.restarts,
            last_error=supervised.last_error or report.last_error,
            next_try_at=None if supervised.next_try_in is None else now + supervised.next_try_in,
            up_since=report.up_since if supervised.state is None else None,
            waits=report.waits if supervised.state is None else None,
        )

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
