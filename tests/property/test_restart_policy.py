"""Properties of the restart policy for any backoff, intensity and history."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from hypothesis import assume, given
from hypothesis import strategies as st

from supervisor.child import (
    Backoff,
    Child,
    ChildSpec,
    GiveUp,
    InvalidSpec,
    Restart,
    RestartIntensity,
    check_reachable,
)
from supervisor.restart import Escalate, History, RestartAfter, RunExit, backoff_delay, decide

BOOM = RuntimeError("boom")


class Outage(Exception):
    is_external = True


seconds = st.floats(min_value=0.001, max_value=1e6)
draws = st.floats(min_value=0.0, max_value=1.0, exclude_max=True)


@st.composite
def backoffs(draw: st.DrawFn) -> Backoff:
    base = draw(seconds)
    return Backoff(base, cap=base * draw(st.floats(1.0, 1000.0)), stable_after=draw(seconds))


@st.composite
def specs(draw: st.DrawFn) -> ChildSpec:
    """Any spec that escalates, with a reachable intensity."""
    backoff = draw(backoffs())
    max_restarts = draw(st.integers(0, 20))
    slowest = sum(backoff.ceiling(n) for n in range(1, max_restarts + 1))
    period = slowest * draw(st.floats(1.001, 10.0)) + draw(seconds)
    return ChildSpec(
        id="a",
        factory=no_child,
        restart=Restart.PERMANENT,
        intensity=RestartIntensity(max_restarts, period),
        backoff=backoff,
        grace=1.0,
        give_up=GiveUp.ESCALATE,
        park_for=1.0,
    )


def no_child() -> Child:
    raise AssertionError("a policy makes no child")


@given(st.integers(1, 10_000), backoffs(), draws)
def test_a_delay_is_within_its_bounds(attempt: int, backoff: Backoff, u: float) -> None:
    delay = backoff_delay(attempt, backoff, u)
    assert 0 <= delay <= backoff.cap
    assert delay <= backoff.base * 2.0 ** min(attempt - 1, 1000)


@given(st.integers(1, 2000), backoffs(), draws)
def test_more_failures_never_mean_a_shorter_ceiling(
    attempt: int, backoff: Backoff, u: float
) -> None:
    assert backoff_delay(attempt, backoff, u) <= backoff_delay(attempt + 1, backoff, u)


@given(specs(), st.lists(st.tuples(seconds, draws), max_size=60))
def test_the_window_is_ascending_short_and_never_longer_than_its_period(
    spec: ChildSpec, runs: list[tuple[float, float]]
) -> None:
    now, history = 0.0, History()
    for served_s, u in runs:
        now += served_s
        history, _ = decide(spec, history, RunExit(BOOM, served_s), now, u)
        assert list(history.recent) == sorted(history.recent)
        assert len(history.recent) <= spec.intensity.max_restarts + 1
        assert now - history.recent[0] < spec.intensity.period


def ends(spec: ChildSpec, served_s: float, jitter: Iterable[float]) -> int | None:
    """Return after how many runs of `served_s` seconds the policy gives up, or None."""
    now, history = 0.0, History()
    for run, u in enumerate(jitter, start=1):
        now += served_s
        history, decision = decide(spec, history, RunExit(BOOM, served_s), now, u)
        if isinstance(decision, Escalate):
            return run
        assert isinstance(decision, RestartAfter)
        now += decision.delay
    return None


@given(specs(), st.data())
def test_a_child_that_fails_at_once_always_trips_the_intensity(
    spec: ChildSpec, data: st.DataObject
) -> None:
    enough = spec.intensity.max_restarts + 1
    jitter = data.draw(st.lists(draws, min_size=enough, max_size=enough))
    assert ends(spec, 0.0, jitter) == enough


@given(specs(), st.lists(st.tuples(st.booleans(), draws), max_size=60))
def test_failures_with_an_external_cause_count_for_nothing_and_wait_as_long(
    spec: ChildSpec, runs: list[tuple[bool, float]]
) -> None:
    now, history, own = 0.0, History(), 0
    for is_external, u in runs:
        own += not is_external
        history, decision = decide(
            spec, history, RunExit(Outage() if is_external else BOOM, 0.0), now, u
        )
        if isinstance(decision, Escalate):
            assert not is_external
            assert own > spec.intensity.max_restarts
            return
        assert decision == RestartAfter(backoff_delay(history.attempt, spec.backoff, u))
        now += decision.delay


@given(specs(), st.lists(draws, min_size=50, max_size=50))
def test_a_child_that_fails_rarely_never_trips_the_intensity(
    spec: ChildSpec, jitter: list[float]
) -> None:
    assume(spec.intensity.max_restarts > 0)
    rarely = spec.intensity.period / spec.intensity.max_restarts * 1.001
    assert ends(spec, rarely, jitter) is None


@given(specs(), st.integers(1, 50), draws)
def test_a_stable_life_is_followed_by_the_shortest_wait(
    spec: ChildSpec, attempt: int, u: float
) -> None:
    assume(spec.intensity.max_restarts > 0)
    ended = RunExit(BOOM, served_s=spec.backoff.stable_after)
    history, decision = decide(spec, History(attempt=attempt, parked=True), ended, 0.0, u)
    assert history.attempt == 1
    assert decision == RestartAfter(backoff_delay(1, spec.backoff, u))


@given(specs(), st.integers(1, 50), draws, seconds)
def test_a_requested_delay_is_respected(
    spec: ChildSpec, attempt: int, u: float, wanted: float
) -> None:
    class Later(Exception):
        retry_after = wanted

    parks = dataclasses.replace(spec, give_up=GiveUp.PARK)
    _, decision = decide(parks, History(attempt=attempt), RunExit(Later(), 0.0), 0.0, u)
    assert not isinstance(decision, Escalate)
    assert getattr(decision, "delay") >= wanted  # noqa: B009 - both kinds of decision have it


@given(backoffs(), st.integers(0, 50), seconds)
def test_an_intensity_is_refused_exactly_when_some_crasher_could_escape_it(
    backoff: Backoff, max_restarts: int, period: float
) -> None:
    slowest = sum(backoff.ceiling(n) for n in range(1, max_restarts + 1))
    try:
        check_reachable(RestartIntensity(max_restarts, period), backoff)
    except InvalidSpec:
        assert slowest >= period
    else:
        assert slowest < period
