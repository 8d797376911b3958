"""A short soak test: faults of every kind under steady clients, without wrong or missing answers."""

from __future__ import annotations

import pytest

from bench.soak import downtimes, silent_in_a_row, soak, soak_env

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

BOTS = 20


async def test_no_answer_is_wrong_or_missing_under_faults() -> None:
    with soak_env(BOTS, seed=5) as env:
        env.service.wait_ready(BOTS)
        result = await soak(env, seconds=25.0, rate=20.0, seed=5, warm_up_s=5.0)
    assert result.stats.wrong == []
    assert result.stats.missing == []
    assert result.stats.answers["data"] > 100
    assert result.stats.faults.total() >= 3
    assert (result.ready, result.absent, result.cooling) == (BOTS, [], set())
    assert result.downtimes_s


def test_silences_in_a_row_have_no_answer_between_them() -> None:
    outcomes = {
        "a": "silent_fault answered silent_fault silent_quota_ip",
        "b": "answered not_found",
    }
    events = [
        {"account": account, "outcome": outcome}
        for account, line in outcomes.items()
        for outcome in line.split()
    ]
    assert silent_in_a_row(events) == {"a": 2, "b": 0}


def test_a_downtime_is_from_the_end_of_a_session_to_the_next_welcome() -> None:
    events = [
        {"kind": "session_ended", "account": "a", "t": 1.0},
        {"kind": "session_ended", "account": "b", "t": 2.0},
        {"kind": "session_ended", "account": "a", "t": 3.0},  # failed again
        {"kind": "gc_welcome", "account": "a", "t": 6.0},
        {"kind": "gc_welcome", "account": "b", "t": 4.0},
        {"kind": "gc_welcome", "account": "b", "t": 9.0},
    ]
    assert downtimes(events) == [5.0, 2.0]
