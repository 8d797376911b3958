"""Bot log at info: ready, no longer ready, and each own failure once."""

from __future__ import annotations

import pytest
from support.fake_clock import FakeClock
from support.scripted_child import capturing_log

from actors.bot.log import FEW, HOLD_S, BotLog, FirstFailures
from actors.bot.messages import BotChanged
from actors.bot.shared_causes import CauseKind, SharedCause
from actors.bot.states import BotState
from actors.errors import (
    BudgetIsSpent,
    GcUnavailable,
    LeaseLost,
    LogOnRefused,
    NoPassword,
    ServiceError,
    SteamUnreachable,
    StoreUnavailable,
)

S, K = BotState, CauseKind


class Fleet:
    """Some bots, their shared causes, and their log at info."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.log, self.lines = capturing_log()
        self.causes: list[SharedCause] = []
        self._bots = BotLog(lambda: self.causes, clock=clock)

    def change(self, state: BotState, error: ServiceError | None = None, bot: int = 1) -> object:
        reason = None if error is None else str(error)
        one = BotChanged(f"bot-{bot}", state, f"account{bot}", reason)
        return self._bots.note(S.CONNECTING, one, error, self.log.bind(child_id=f"bot-{bot}"))

    def fail(self, error: ServiceError, bot: int = 1) -> object:
        return self.change(S.BACKING_OFF, error, bot)

    def begin(self, kind: CauseKind) -> None:
        self.causes.append(SharedCause(kind, self.clock.wall(), "", frozenset()))

    @property
    def at_info(self) -> list[str]:
        return [line["state_to"] for line in self.lines if line["log_level"] == "info"]


@pytest.fixture
def fleet(clock: FakeClock) -> Fleet:
    return Fleet(clock)


def refused() -> SteamUnreachable:
    return SteamUnreachable("connect", "refused")


def test_the_steps_on_the_way_are_no_news(fleet: Fleet) -> None:
    for state in (S.CONNECTING, S.AUTHENTICATING, S.LAUNCHING, S.READY, S.DRAINING, S.STOPPED):
        fleet.change(state)
    assert fleet.at_info == ["ready"]
    assert len(fleet.lines) == 6


def test_a_failure_that_is_no_other_bots_is_logged_at_once(fleet: Fleet) -> None:
    error = NoPassword("axe")
    assert fleet.fail(error) is None
    assert fleet.at_info == ["backing_off"]
    assert not error.is_reported


def test_the_same_failure_again_is_no_news_until_a_success(fleet: Fleet) -> None:
    for _ in range(5):
        error = BudgetIsSpent("spent")
        fleet.fail(error)
    assert fleet.at_info == ["backing_off"]
    assert error.is_reported
    fleet.fail(NoPassword("axe"))  # another one
    assert fleet.at_info == ["backing_off"] * 2
    fleet.change(S.READY)
    fleet.fail(NoPassword("axe"))
    assert fleet.at_info == [*["backing_off"] * 2, "ready", "backing_off"]


async def test_a_failure_that_others_may_share_is_logged_when_none_does(
    fleet: Fleet, clock: FakeClock
) -> None:
    error = refused()
    fleet.fail(error)
    assert error.is_reported  # or will be
    await clock.advance(HOLD_S - 1)
    fleet.fail(refused())
    assert fleet.at_info == []
    await clock.advance(2)
    assert fleet.at_info == ["backing_off"]
    for _ in range(10):
        fleet.fail(refused())
        await clock.advance(HOLD_S)
    assert fleet.at_info == ["backing_off"]


async def test_what_is_held_back_comes_before_what_follows_it(
    fleet: Fleet, clock: FakeClock
) -> None:
    fleet.fail(refused())
    fleet.change(S.READY)
    await clock.advance(HOLD_S * 2)
    assert fleet.at_info == ["backing_off", "ready"]
    fleet.fail(GcUnavailable("goodbye"))
    fleet.fail(NoPassword("axe"))
    assert fleet.at_info == ["backing_off", "ready", "backing_off", "backing_off"]
    assert fleet.lines[-2]["reason"].startswith("the Game Coordinator")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (refused(), K.STEAM_UNREACHABLE),
        (SteamUnreachable("session", "closed"), K.STEAM_UNREACHABLE),
        (LogOnRefused("logon", 20), K.STEAM_UNREACHABLE),
        (GcUnavailable("no welcome"), K.GC_UNAVAILABLE),
        (LogOnRefused("logon", 84), K.LOGONS_LIMITED),
        (LogOnRefused("logon", 18), K.SAME_REFUSAL),
        (StoreUnavailable("renew"), K.REDIS_UNREACHABLE),
        (LeaseLost("axe", 1), K.REDIS_UNREACHABLE),
    ],
    ids=str,
)
@pytest.mark.parametrize("begins_after_s", [0.0, HOLD_S / 2])
async def test_what_is_part_of_a_cause_is_never_at_info_however_many_bots_there_are(
    fleet: Fleet, clock: FakeClock, error: ServiceError, kind: CauseKind, begins_after_s: float
) -> None:
    if begins_after_s == 0:
        fleet.begin(kind)
    for bot in range(100):
        assert fleet.fail(error, bot) is (kind if begins_after_s == 0 else None)
    await clock.advance(begins_after_s)
    if begins_after_s:
        fleet.begin(kind)
    for _ in range(10):
        for bot in range(100):
            assert fleet.fail(error, bot) is kind
        await clock.advance(HOLD_S)
    assert error.is_reported
    fleet.causes.clear()
    for bot in range(100):
        fleet.change(S.READY, bot=bot)
    assert fleet.at_info == []
    fleet.change(S.READY, bot=0)
    assert fleet.at_info == ["ready"]


async def test_a_cause_that_was_over_before_a_line_was_due_was_its_cause(
    fleet: Fleet, clock: FakeClock
) -> None:
    for bot in range(10):
        fleet.fail(SteamUnreachable("session", "closed"), bot)
    fleet.begin(K.STEAM_UNREACHABLE)
    fleet.fail(refused(), 1)
    fleet.causes.clear()
    await clock.advance(1)
    for bot in range(10):
        fleet.change(S.READY, bot=bot)
    await clock.advance(HOLD_S * 2)
    assert fleet.at_info == []


async def test_another_kind_of_cause_excuses_nothing(fleet: Fleet, clock: FakeClock) -> None:
    fleet.begin(K.GC_UNAVAILABLE)
    assert fleet.fail(NoPassword("axe")) is None
    assert fleet.fail(refused(), 2) is None
    await clock.advance(HOLD_S)
    assert fleet.at_info == ["backing_off"] * 2


async def test_a_failure_of_its_own_after_an_outage_is_news(fleet: Fleet, clock: FakeClock) -> None:
    fleet.begin(K.STEAM_UNREACHABLE)
    fleet.fail(refused())
    fleet.causes.clear()
    await clock.advance(HOLD_S)
    fleet.fail(refused())
    await clock.advance(HOLD_S)
    assert fleet.at_info == ["backing_off"]


async def test_a_stop_lets_no_line_get_lost(fleet: Fleet) -> None:
    fleet.fail(refused())
    fleet.change(S.DRAINING)
    assert fleet.at_info == ["backing_off"]


def test_first_failures() -> None:
    failures = FirstFailures()
    assert [failures.is_news("axe") for _ in range(3)] == [True, False, False]
    assert failures.is_news("axe", "otherwise")
    failures.succeeded("axe")
    assert failures.is_news("axe")
    failures.succeeded("bane")
    many = [failures.is_news(f"account{number}") for number in range(100)]
    assert many == [True] * FEW + [False] * (100 - FEW)
