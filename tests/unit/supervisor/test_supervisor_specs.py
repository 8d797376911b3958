"""Child specifications refuse values that cannot work, with a reason in one line."""

from __future__ import annotations

from typing import Any

import pytest
from support.scripted_child import SupervisorEnv

from supervisor.child import Backoff, InvalidSpec, RestartIntensity, check_reachable


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0.0, 1.0, 0.0), "backoff needs 0 < base (0) <= cap (1)"),
        ((2.0, 1.0, 0.0), "backoff needs 0 < base (2) <= cap (1)"),
        ((1.0, float("inf"), 0.0), "backoff needs 0 < base (1) <= cap (inf)"),
        ((float("nan"), 1.0, 0.0), "backoff needs 0 < base (nan) <= cap (1)"),
        ((1.0, 1.0, -1.0), "stable_after (-1) must not be negative"),
    ],
)
def test_an_impossible_backoff_is_refused(values: tuple[float, float, float], message: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        Backoff(*values)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("max_restarts", "period", "message"),
    [
        (-1, 1.0, "max_restarts (-1) must not be negative"),
        (1, 0.0, "period (0) must be more than 0 s"),
        (1, float("nan"), "period (nan) must be more than 0 s"),
    ],
)
def test_an_impossible_intensity_is_refused(max_restarts: int, period: float, message: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        RestartIntensity(max_restarts, period)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": ""}, "a child needs an id"),
        ({"grace": -1.0}, "grace (-1) must not be negative"),
        ({"park_for": 0.0}, "park_for (0) must be more than 0 s, and finite"),
        ({"park_for": float("inf")}, "park_for (inf) must be more than 0 s, and finite"),
    ],
)
def test_an_impossible_spec_is_refused(
    supervisor_env: SupervisorEnv, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidSpec) as refused:
        supervisor_env.spec("a", **changes)
    assert str(refused.value) == message


def test_an_intensity_that_the_backoff_never_reaches_is_refused(
    supervisor_env: SupervisorEnv,
) -> None:
    """Ten restarts after 1, 2, 4, ... 60 s take up to 303 s, so they rarely happen within a minute."""
    backoff = Backoff(base=1.0, cap=60.0, stable_after=10.0)
    with pytest.raises(InvalidSpec) as refused:
        supervisor_env.spec("a", backoff=backoff, intensity=RestartIntensity(10, 60.0))
    assert str(refused.value) == (
        "period (60 s) must be more than 303 s, the longest time that max_restarts (10) can take "
        "with base (1 s) and cap (60 s)"
    )


@pytest.mark.parametrize(("period", "reachable"), [(303.0, False), (303.1, True), (600.0, True)])
def test_the_edge_of_reachable_is_the_sum_of_the_ceilings(period: float, reachable: bool) -> None:  # noqa: FBT001 - a table's column
    backoff = Backoff(base=1.0, cap=60.0, stable_after=10.0)
    try:
        check_reachable(RestartIntensity(10, period), backoff)
    except InvalidSpec:
        assert not reachable
    else:
        assert reachable
