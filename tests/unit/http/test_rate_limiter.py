"""The rate limiter; time is an argument."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.http.auth.clients import Rate, RateLimiter

PER_SECOND = Rate.of(60, burst=3)


def test_a_rested_client_has_its_burst_and_then_one_request_per_interval() -> None:
    rates = RateLimiter()
    table = [
        (100.0, 0), (100.0, 0), (100.0, 0), (100.0, 1), (100.5, 0.5),
        (101.0, 0), (101.0, 1), (103.0, 0), (103.0, 0), (103.0, 1),
        (200.0, 0), (200.0, 0), (200.0, 0), (200.0, 1),
    ]  # fmt: skip
    for now, wait in table:
        assert rates.take("a", PER_SECOND, now) == pytest.approx(wait), now


def test_clients_do_not_pay_for_one_another() -> None:
    rates = RateLimiter()
    for _ in range(3):
        assert rates.take("a", PER_SECOND, 0.0) == 0
    assert rates.take("a", PER_SECOND, 0.0) > 0
    assert rates.take("b", PER_SECOND, 0.0) == 0


def test_the_wait_is_told_without_counting() -> None:
    rates = RateLimiter()
    for taken in range(3):
        assert rates.wait("a", PER_SECOND, 0.0) == 0, taken
        assert rates.take("a", PER_SECOND, 0.0) == 0
    for _ in range(5):
        assert rates.wait("a", PER_SECOND, 0.5) == pytest.approx(0.5)
    assert rates.take("a", PER_SECOND, 1.0) == 0


def test_without_a_burst_a_whole_minutes_requests_may_come_at_once() -> None:
    assert Rate.of(90.5).burst == 91
    assert Rate.of(0.1).burst == 1
    assert Rate.of(0.1).interval_s == pytest.approx(600)


def test_another_rate_holds_at_once() -> None:
    rates = RateLimiter()
    for _ in range(3):
        rates.take("a", PER_SECOND, 0.0)
    assert rates.take("a", Rate.of(6000, burst=6000), 0.0) == 0


def test_names_without_end_need_no_memory_without_end() -> None:
    rates = RateLimiter(max_names=100)
    slow = Rate.of(1, burst=1)
    for number in range(10_000):
        assert rates.take(str(number), slow, 0.0) == 0
        assert len(rates._full_at) <= 100
    assert rates.take("9999", slow, 0.0) > 0, "the latest are remembered"


def test_full_buckets_are_dropped_first() -> None:
    rates = RateLimiter(max_names=10)
    slow = Rate.of(1, burst=1)
    for number in range(5):
        rates.take(f"early-{number}", slow, 0.0)
    for number in range(50):
        rates.take(f"late-{number % 5}", slow, 100.0)
        rates.take(f"new-{number}", PER_SECOND, 100.0 + number)
    assert all(rates.take(f"late-{number}", slow, 149.0) > 0 for number in range(5))


@given(
    st.lists(st.floats(min_value=0, max_value=5), min_size=1, max_size=60),
    st.integers(min_value=1, max_value=5),
    st.floats(min_value=1, max_value=600),
)
def test_no_span_holds_more_than_the_burst_and_what_the_rate_brings(
    gaps: list[float], burst: int, per_minute: float
) -> None:
    rates, rate, now = RateLimiter(), Rate.of(per_minute, burst), 0.0
    taken: list[float] = []
    for gap in gaps:
        now += gap
        if rates.take("a", rate, now) == 0:
            taken.append(now)
    for first, begun in enumerate(taken):
        for last in range(first, len(taken)):
            span = taken[last] - begun
            assert last - first + 1 <= burst + span / rate.interval_s + 1e-6


@given(st.integers(min_value=1, max_value=5), st.floats(min_value=1, max_value=600))
def test_after_the_wait_that_was_told_there_is_one(burst: int, per_minute: float) -> None:
    rates, rate = RateLimiter(), Rate.of(per_minute, burst)
    for _ in range(burst):
        assert rates.take("a", rate, 0.0) == 0
    wait = rates.take("a", rate, 0.0)
    assert 0 < wait <= rate.interval_s + 1e-9
    assert rates.take("a", rate, wait + 1e-6) == 0
