"""Traffic by the minute: counts, errors by word, sources, and latencies close enough for a chart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.dashboard.history import MINUTES, Traffic

AT = 1_700_000_040  # the beginning of a minute


def test_each_minute_is_counted_apart() -> None:
    traffic = Traffic()
    traffic.note(AT, 0.1, error=None, source="gc")
    traffic.note(AT + 59.9, 0.1, error="busy", source=None)
    traffic.note(AT + 60, 0.1, error=None, source="memory")
    first, second = traffic.since(0)
    assert (first.at, first.requests, first.errors, first.sources) == (
        AT,
        2,
        {"busy": 1},
        {"gc": 1},
    )
    assert (second.at, second.requests, second.sources) == (AT + 60, 1, {"memory": 1})
    assert traffic.since(AT + 60) == [second]


def test_an_hour_is_kept_and_no_more() -> None:
    traffic = Traffic()
    for minute in range(MINUTES + 5):
        traffic.note(AT + 60 * minute, 0.1, error=None, source=None)
    assert [one.at for one in traffic.since(0)] == [AT + 60 * n for n in range(5, MINUTES + 5)]


def test_a_clock_that_jumps_back_loses_nothing() -> None:
    traffic = Traffic()
    traffic.note(AT, 0.1, error=None, source=None)
    traffic.note(AT - 3600, 0.1, error=None, source=None)
    assert [one.requests for one in traffic.since(0)] == [2]


@given(st.lists(st.floats(0.001, 80), min_size=1, max_size=200))
def test_a_quantile_is_at_most_a_quarter_above_the_true_one(latencies: list[float]) -> None:
    traffic = Traffic()
    for one in latencies:
        traffic.note(AT, one, error=None, source=None)
    (minute,) = traffic.since(0)
    ordered = sorted(latencies)
    for share, told in ((0.50, minute.p50), (0.95, minute.p95)):
        rank = max(1, -int(-share * len(ordered) // 1))
        true = ordered[rank - 1]
        assert told is not None
        assert true * 0.99 <= told <= true * 1.26


def test_what_takes_for_ever_is_in_the_last_bin() -> None:
    traffic = Traffic()
    traffic.note(AT, 1e9, error=None, source=None)
    (minute,) = traffic.since(0)
    assert minute.p95 is not None
    assert minute.p95 > 80
