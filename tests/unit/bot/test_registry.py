"""What the registry holds of a bot: what its log-on waits for, and the cause of its last failure."""

from __future__ import annotations

from typing import Any

import pytest
import structlog
from support.fake_clock import FakeClock

from actors.bot.messages import BotChanged, BotReport
from actors.bot.registry import BotRegistry
from actors.bot.shared_causes import CauseKind
from actors.bot.states import BotState

S = BotState
CAUSE = CauseKind.STEAM_UNREACHABLE


class Told:
    """A registry, and what it reports of one bot."""

    def __init__(self, clock: FakeClock) -> None:
        self.registry = BotRegistry(stable_after_s=60.0, clock=clock, log=structlog.get_logger())

    def after(self, state: BotState, **more: Any) -> BotReport:
        self.registry.changed(BotChanged("bot-1", state, **more))
        return self.report()

    def supervised(
        self, state: BotState | None, error: str | None = None, error_at: float | None = None
    ) -> BotReport:
        self.registry.supervised(
            "bot-1", state, restarts=1, last_error=error, last_error_at=error_at
        )
        return self.report()

    def report(self) -> BotReport:
        return self.registry.reports()[0]


@pytest.fixture
def told(clock: FakeClock) -> Told:
    return Told(clock)


def test_a_cause_stays_until_the_bot_is_ready_or_fails_by_itself(told: Told) -> None:
    assert told.after(S.BACKING_OFF, cause=CAUSE).cause is CAUSE
    for state in (S.BACKING_OFF, None, S.PARKED):
        assert told.supervised(state).cause is CAUSE
    for state in (S.WAITING_FOR_ACCOUNT, S.CONNECTING, S.AUTHENTICATING, S.LAUNCHING):
        assert told.after(state).cause is CAUSE
    assert told.after(S.READY).cause is None
    assert told.after(S.LAUNCHING, cause=CAUSE).cause is CAUSE  # its GC session is lost
    for state in (S.BACKING_OFF, S.NEEDS_HUMAN, S.EXHAUSTED):
        told.after(S.LAUNCHING, cause=CAUSE)
        assert told.after(state).cause is None


def test_what_a_log_on_waits_for_is_said_while_it_does(told: Told) -> None:
    assert told.after(S.CONNECTING).waits is None
    assert told.after(S.CONNECTING, waits="pacing").waits == "pacing"
    assert told.supervised(None).waits == "pacing"
    assert told.after(S.CONNECTING, waits="rate-limit").waits == "rate-limit"
    assert told.after(S.AUTHENTICATING).waits is None
    told.after(S.CONNECTING, waits="pacing")
    assert told.supervised(S.BACKING_OFF).waits is None


async def test_an_error_has_an_age_and_goes_when_the_bot_has_been_ready_for_a_while(
    told: Told, clock: FakeClock
) -> None:
    assert told.after(S.CONNECTING).last_error_at is None
    failed = told.after(S.BACKING_OFF, reason="Steam refused")
    at = failed.last_error_at
    assert (failed.last_error, at) == ("Steam refused", clock.wall())
    await clock.advance(300)
    for state in (S.WAITING_FOR_ACCOUNT, S.CONNECTING, S.READY):
        report = told.after(state)
        assert (report.last_error, report.last_error_at) == ("Steam refused", at)
    await clock.advance(59)
    assert told.after(S.READY).last_error == "Steam refused"  # it renewed its lease
    await clock.advance(1)
    report = told.report()
    assert (report.last_error, report.last_error_at) == (None, None)


async def test_what_the_supervisor_repeats_is_no_new_error(told: Told, clock: FakeClock) -> None:
    told.after(S.CONNECTING)
    at = clock.now()
    await clock.advance(7)
    failed = told.supervised(S.BACKING_OFF, "boom", at)
    assert (failed.last_error, failed.last_error_at) == ("boom", clock.wall() - 7)
    told.after(S.READY)
    await clock.advance(60)
    for state in (None, S.PARKED, None):
        assert told.supervised(state, "boom", at).last_error is None
    assert told.supervised(S.BACKING_OFF, "boom", clock.now()).last_error == "boom"


async def test_a_game_coordinator_that_was_lost_for_a_moment_is_an_error_of_its_own_age(
    told: Told, clock: FakeClock
) -> None:
    told.after(S.READY)
    await clock.advance(100)
    told.after(S.LAUNCHING, reason="the Game Coordinator closed the session")
    await clock.advance(1)
    assert told.after(S.READY).last_error is not None
    await clock.advance(59.5)
    assert told.report().last_error is not None
    await clock.advance(0.5)
    assert told.report().last_error is None


async def test_stable_after_is_that_of_the_settings_of_now(told: Told, clock: FakeClock) -> None:
    told.after(S.BACKING_OFF, reason="boom")
    told.after(S.READY)
    await clock.advance(10)
    assert told.report().last_error == "boom"
    told.registry.reconfigure(stable_after_s=10.0)
    assert told.report().last_error is None


def test_a_wait_is_no_error_and_says_when_it_ends(told: Told, clock: FakeClock) -> None:
    report = told.after(S.CONNECTING, waits="pacing", goes_on_in=12.0)
    assert (report.last_error, report.waits) == (None, "pacing")
    assert report.next_try_at == clock.wall() + 12
    assert told.after(S.AUTHENTICATING).next_try_at is None
