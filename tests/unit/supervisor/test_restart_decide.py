"""The restart policy, one row per case."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from supervisor.child import Backoff, Child, ChildSpec, GiveUp, Restart, RestartIntensity
from supervisor.restart import (
    Decision,
    Escalate,
    Finished,
    History,
    ParkFor,
    RestartAfter,
    RunExit,
    backoff_delay,
    decide,
    wanted_delay,
    within_period,
)

BOOM = RuntimeError("boom")
CRASHED = RunExit(BOOM, served_s=0.0)
RETURNED = RunExit(None, served_s=0.0)
NOW = 1000.0


class Spent(Exception):
    is_blameless = True


class Outage(Exception):
    is_external = True


class Later(Exception):
    def __init__(self, retry_after: object) -> None:
        self.retry_after = retry_after
        super().__init__()


def no_child() -> Child:
    raise AssertionError("a decision makes no child")


def spec(**changes: Any) -> ChildSpec:
    recipe: dict[str, Any] = {
        "id": "a",
        "factory": no_child,
        "restart": Restart.PERMANENT,
        "intensity": RestartIntensity(max_restarts=2, period=60.0),
        "backoff": Backoff(base=1.0, cap=8.0, stable_after=10.0),
        "grace": 5.0,
        "give_up": GiveUp.PARK,
        "park_for": 300.0,
    }
    return ChildSpec(**(recipe | changes))


FULL = History(attempt=2, recent=(NOW - 3, NOW - 2))
ESCALATES = {"give_up": GiveUp.ESCALATE}


@pytest.mark.parametrize(
    ("changes", "history", "ended", "decision"),
    [
        # Restart types.
        ({}, History(), RETURNED, RestartAfter(0.5)),
        ({"restart": Restart.TRANSIENT}, History(), RETURNED, Finished()),
        ({"restart": Restart.TRANSIENT}, History(), CRASHED, RestartAfter(0.5)),
        ({"restart": Restart.TEMPORARY}, History(), CRASHED, Finished()),
        ({"restart": Restart.TEMPORARY}, FULL, CRASHED, Finished()),
        # Delays: half of each ceiling.
        ({}, History(attempt=1), CRASHED, RestartAfter(1.0)),
        ({}, History(attempt=2), CRASHED, RestartAfter(2.0)),
        ({}, History(attempt=3), CRASHED, RestartAfter(4.0)),
        ({}, History(attempt=9), CRASHED, RestartAfter(4.0)),
        ({}, History(attempt=9), RunExit(BOOM, served_s=9.9), RestartAfter(4.0)),
        ({}, History(attempt=9), RunExit(BOOM, served_s=10.0), RestartAfter(0.5)),
        ({}, History(), RunExit(Later(7.0), served_s=0.0), RestartAfter(7.5)),
        # More failures than the intensity allows.
        ({}, History(attempt=1, recent=(NOW - 2,)), CRASHED, RestartAfter(1.0)),
        ({}, FULL, CRASHED, ParkFor(300.0)),
        ({}, FULL, RunExit(Later(900.0), served_s=0.0), ParkFor(900.0)),
        ({}, FULL, RunExit(Later(9.0), served_s=0.0), ParkFor(300.0)),
        (ESCALATES, FULL, CRASHED, Escalate()),
        ({}, History(attempt=2, recent=(NOW - 60, NOW - 2)), CRASHED, RestartAfter(2.0)),
        ({}, History(attempt=2, recent=(NOW - 59.9, NOW - 2)), CRASHED, ParkFor(300.0)),
        ({}, FULL, RunExit(BOOM, served_s=9.9), ParkFor(300.0)),
        ({}, FULL, RunExit(BOOM, served_s=10.0), RestartAfter(0.5)),
        (ESCALATES, FULL, RunExit(BOOM, served_s=10.0), RestartAfter(0.5)),
        # A run that never was in service is not stable, even with stable_after=0.
        ({"backoff": Backoff(1.0, 8.0, stable_after=0.0)}, FULL, CRASHED, ParkFor(300.0)),
        (
            {"backoff": Backoff(1.0, 8.0, stable_after=0.0)},
            FULL,
            RunExit(BOOM, 0.1),
            RestartAfter(0.5),
        ),
        # A blameless end.
        ({}, FULL, RunExit(Spent(), served_s=0.1), RestartAfter(0.5)),
        (ESCALATES, FULL, RunExit(Spent(), served_s=0.1), RestartAfter(0.5)),
        ({}, History(attempt=3, parked=True), RunExit(Spent(), served_s=0.1), RestartAfter(0.5)),
        # An external cause: it backs off, and does not count towards the intensity.
        ({}, History(attempt=1), RunExit(Outage(), served_s=0.0), RestartAfter(1.0)),
        ({}, FULL, RunExit(Outage(), served_s=0.0), RestartAfter(2.0)),
        ({}, History(attempt=9, recent=FULL.recent), RunExit(Outage(), 0.0), RestartAfter(4.0)),
        (ESCALATES, FULL, RunExit(Outage(), served_s=0.0), RestartAfter(2.0)),
        ({}, History(attempt=9), RunExit(Outage(), served_s=10.0), RestartAfter(0.5)),
        ({}, History(attempt=3, parked=True), RunExit(Outage(), served_s=0.0), ParkFor(300.0)),
        # Parked: one run at a time, until one is stable.
        ({}, History(attempt=3, parked=True), CRASHED, ParkFor(300.0)),
        ({}, History(attempt=3, parked=True), RunExit(BOOM, served_s=10.0), RestartAfter(0.5)),
    ],
)
def test_the_decision_after_an_end(
    changes: dict[str, Any], history: History, ended: RunExit, decision: Decision
) -> None:
    assert decide(spec(**changes), history, ended, NOW, u=0.5)[1] == decision


def test_the_past_remembers_the_end() -> None:
    history, _ = decide(spec(), History(attempt=1, recent=(NOW - 70, NOW - 2)), CRASHED, NOW, u=0.0)
    assert history == History(attempt=2, recent=(NOW - 2, NOW))


def test_what_is_no_failure_leaves_no_trace() -> None:
    assert decide(spec(), FULL, RunExit(Spent(), served_s=0.1), NOW, u=0.0)[0] == FULL


def test_a_cause_outside_of_the_child_lengthens_the_backoff_and_nothing_else() -> None:
    history, _ = decide(spec(), History(1, (NOW - 70, NOW - 2)), RunExit(Outage(), 0.0), NOW, u=0.0)
    assert history == History(attempt=2, recent=(NOW - 2,))
    history, _ = decide(spec(), FULL, RunExit(Outage(), served_s=10.0), NOW, u=0.0)
    assert history == History(attempt=1)


def test_a_stable_life_is_the_only_thing_remembered_of_the_past() -> None:
    history, _ = decide(spec(), FULL, RunExit(BOOM, served_s=10.0), NOW, u=0.0)
    assert history == History(attempt=1, recent=(NOW,))


def test_giving_up_is_remembered() -> None:
    history, _ = decide(spec(), FULL, CRASHED, NOW, u=0.0)
    assert history.parked


def test_a_finished_child_has_no_more_past() -> None:
    assert decide(spec(restart=Restart.TEMPORARY), FULL, CRASHED, NOW, u=0.0)[0] == FULL


def test_a_cancelled_child_has_crashed() -> None:
    ended = RunExit(asyncio.CancelledError(), served_s=0.0)
    assert decide(spec(restart=Restart.TRANSIENT), History(), ended, NOW, u=0.5)[1] == RestartAfter(
        0.5
    )


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (None, 0.0),
        (BOOM, 0.0),
        (Later(None), 0.0),
        (Later(12), 12.0),
        (Later(-1.0), 0.0),
        (Later(float("nan")), 0.0),
        (Later(float("inf")), 0.0),
        (Later("soon"), 0.0),
    ],
)
def test_what_an_error_asks_to_wait(error: BaseException | None, seconds: float) -> None:
    assert wanted_delay(error) == seconds


def test_the_power_does_not_overflow() -> None:
    assert (
        backoff_delay(1_000_000, Backoff(base=1e300, cap=1e308, stable_after=0.0), u=1.0) == 1e308
    )


def test_only_as_many_instants_are_kept_as_can_matter() -> None:
    intensity = RestartIntensity(max_restarts=2, period=60.0)
    assert within_period((1.0, 2.0, 3.0, 4.0), intensity, now=5.0) == (2.0, 3.0, 4.0)
