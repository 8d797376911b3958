"""Differences between samples are reported if they last; short and excused ones are not."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from bench.chaos.consistency import (
    ALERTS,
    ANSWERS,
    DOWN,
    JOURNAL_STATUS,
    PAGE_STATUS,
    READYZ_STATUS,
    REDIS_STATUS,
    ROTATION,
    SERVICEABLE_PAGE,
    SERVICEABLE_READYZ,
    ConsistencyResult,
    FaultPeriod,
    Refusal,
    SampledRound,
    check_consistency,
    check_refusals,
)
from bench.chaos.sampler import Page, Sessions, alert_kinds

SOURCE = "127.0.0.10"
Sample = dict[str, Any]


def sample(t: float, **other: Any) -> Sample:
    """Return a sample with one ready bot and without differences; `other` replaces parts."""
    bots = other.get("bots", {"bot-1": ["ready", "axe"]})
    said = {
        "readyz": {"code": 200, "body": {"status": "ready", "ready": 1}},
        "status": {"instance": "i", "bots": bots, "alerts": other.get("alerts", [])},
        "page": {
            "bots": other.get("page_bots", bots),
            "alerts": other.get("page_alerts", other.get("alerts", [])),
            "level": other.get("level", "well"),
        },
    }
    said |= {name: other[name] for name in ("readyz", "status", "page") if name in other}
    redis = {"accounts": ["axe"], "holders": {"axe": "i/bot-1"}, "leases": {"axe": 9.0}}
    redis |= {"used": {}, "ip_used": {}}
    return {
        "t": t,
        "steam": other.get("steam", {SOURCE: ["axe"]}),
        "redis": None if other.get("redis", {}) is None else redis | other.get("redis", {}),
        "members": {"m0": said},
    }


def sampled(*samples: Sample, fault_periods: tuple[FaultPeriod, ...] = ()) -> SampledRound:
    return SampledRound(
        samples, fault_periods, {"m0": SOURCE}, per_account=3, per_ip=5, renewal_s=5.0
    )


def during(seconds: int, **other: Any) -> list[Sample]:
    """Return samples without differences, then `other` for `seconds`, then one without."""
    begun = [sample(t) for t in range(3)]
    return [
        *begun,
        *(sample(3 + t, **other) for t in range(seconds + 1)),
        sample(4 + seconds),
    ]


def pairs(found: ConsistencyResult) -> set[str]:
    return {line.split(": ", 1)[1].split(" differ")[0] for line in found.checks.violations}


def test_samples_without_differences_are_not_reported() -> None:
    found = check_consistency(sampled(*during(9)))
    assert found.checks.violations == []
    assert found.samples == 14
    assert found.checks.counts[JOURNAL_STATUS] == 14


NOTHING_READY = {"bot-1": ["connecting", "axe"]}
DIFFERENCES = [
    ({"steam": {}, "level": None}, {JOURNAL_STATUS, SERVICEABLE_READYZ}),
    ({"steam": {SOURCE: ["axe", "bane"]}}, {JOURNAL_STATUS}),
    ({"steam": {"127.0.0.11": ["axe"]}, "level": None}, {JOURNAL_STATUS, SERVICEABLE_READYZ}),
    ({"redis": {"holders": {"axe": "other/bot-1"}}}, {REDIS_STATUS}),
    ({"redis": {"leases": {}}}, {REDIS_STATUS}),
    ({"redis": {"holders": {"axe": "i/bot-1", "bane": "i/bot-2"}, "leases": {"axe": 1, "bane": 1}}},
     {REDIS_STATUS}),
    ({"readyz": {"code": 503, "body": {}}}, {READYZ_STATUS, SERVICEABLE_READYZ}),
    ({"readyz": {"code": 200, "body": {"ready": 0}}}, {READYZ_STATUS, SERVICEABLE_READYZ}),
    ({"readyz": None}, {ANSWERS}),
    ({"page_bots": NOTHING_READY}, {PAGE_STATUS}),
    ({"page_bots": {}}, {PAGE_STATUS}),
    ({"page_alerts": ["address-spent"]}, {ALERTS}),
    ({"redis": {"used": {"axe": 3}}}, {SERVICEABLE_READYZ, SERVICEABLE_PAGE}),
    ({"redis": {"ip_used": {SOURCE: 5}}, "level": "act", "alerts": ["address-spent"]},
     {SERVICEABLE_READYZ}),
    ({"bots": NOTHING_READY, "steam": {}}, {READYZ_STATUS, SERVICEABLE_READYZ, SERVICEABLE_PAGE}),
]  # fmt: skip


@pytest.mark.parametrize(("difference", "expected"), DIFFERENCES)
def test_a_lasting_difference_is_reported_once(
    difference: dict[str, Any], expected: set[str]
) -> None:
    found = check_consistency(sampled(*during(9, **difference)))
    assert pairs(found) == expected
    assert len(found.checks.violations) == len(expected)
    assert {pair for pair, seconds in found.longest.items() if seconds} == expected
    assert all(found.longest[pair] == 9 for pair in expected)


@pytest.mark.parametrize("difference", [difference for difference, _ in DIFFERENCES])
def test_a_difference_of_two_seconds_is_not_reported(difference: dict[str, Any]) -> None:
    assert check_consistency(sampled(*during(2, **difference))).checks.violations == []


def test_consecutive_differences_are_counted_separately() -> None:
    one, other = {"steam": {SOURCE: ["axe", "bane"]}}, {"steam": {SOURCE: ["axe", "cm"]}}
    samples = [sample(t, **(one if t // 2 % 2 else other)) for t in range(12)]
    assert check_consistency(sampled(*samples)).checks.violations == []


def test_readyz_without_a_bot_is_accepted_for_a_limited_time() -> None:
    waits = {"readyz": {"code": 200, "body": {"ready": 0}}, "bots": NOTHING_READY, "level": None}
    samples = {"steam": {}, **waits}
    assert check_consistency(sampled(*during(11, **samples))).checks.violations == []
    assert pairs(check_consistency(sampled(*during(13, **samples)))) == {ROTATION}


def test_a_page_that_is_late_repeatedly_has_no_lasting_difference() -> None:
    states = ["ready", "backing_off", "connecting", "launching", "authenticating", "ready"]
    bots = [{"bot-1": [state, "axe"]} for state in states]
    steps = [
        sample(t, bots=now, page_bots=before, steam=None, readyz=None)
        for t, (before, now) in enumerate(itertools.pairwise(bots))
    ]
    assert pairs(check_consistency(sampled(*steps))) == {ANSWERS}


def test_a_reported_spent_budget_is_no_difference() -> None:
    spent = {"code": 200, "body": {"budget": "spent"}}
    samples = during(9, redis={"used": {"axe": 3}}, readyz=spent, level="act")
    assert check_consistency(sampled(*samples)).checks.violations == []


@pytest.mark.parametrize(
    ("kind", "difference", "is_excused"),
    [
        ("steam_half_open", {"steam": {}, "level": None}, True),
        ("steam_half_open", {"redis": {"leases": {}}}, False),
        ("redis_hole", {"redis": {"leases": {}}}, True),
        ("redis_hole", {"page_bots": {}}, False),
        ("log_unwritable", {"readyz": None}, False),
        (DOWN, {"readyz": None, "status": None, "page": None}, True),
    ],
)
def test_only_differences_that_a_service_cannot_know_are_excused(
    kind: str, difference: dict[str, Any], *, is_excused: bool
) -> None:
    lasts, ends_early = FaultPeriod(kind, "m0", 2.0, 12.0), FaultPeriod(kind, "m0", 2.0, 2.5)
    for samples, fault_periods, ok in (
        (during(9, alerts=None, **difference), lasts, is_excused),
        (during(25, alerts=None, **difference), ends_early, False),
        (during(9, alerts=None, **difference), FaultPeriod(kind, "m1", 2.0, 12.0), False),
    ):
        assert (
            check_consistency(sampled(*samples, fault_periods=(fault_periods,))).checks.violations
            == []
        ) is ok


GONE = FaultPeriod("redis_gone_past_lease", "m0", 3.0, 17.0)
CUT = FaultPeriod("redis_cut", "m0", -5.0, -5.0)


@pytest.mark.parametrize(
    ("alerts", "fault_periods", "causes", "ok"),
    [
        (["redis-unreachable"], (GONE,), {"right"}, True),
        (["redis-unreachable", "steam-unreachable"], (GONE,), {"right"}, True),
        (["steam-unreachable", "redis-unreachable"], (GONE,), {"wrong"}, False),
        (["redis-unreachable"], (), {"wrong"}, False),
        (["logons-limited"], (GONE,), {"wrong", "missing"}, False),
        ([], (GONE,), {"missing"}, False),
        (["account-needs-person"], (GONE,), {"missing"}, False),
        ([], (GONE, FaultPeriod(DOWN, "m0", 2.0, 10.5)), set(), True),  # detected in time
        ([], (GONE, FaultPeriod(DOWN, "m1", 2.0, 10.5)), {"missing"}, False),
        (["redis-unreachable"], (CUT,), {"right", "wrong"}, False),
        (["redis-unreachable"], (CUT, FaultPeriod(DOWN, "m0", -20.0, 6.5)), {"right"}, True),
        ([], (FaultPeriod("steam_slow", "m0", 3.0, 12.0),), set(), True),
        (None, (GONE,), {"not reported by /status"}, True),
    ],
)
def test_the_first_alert_names_the_active_fault(
    alerts: list[str] | None, fault_periods: tuple[FaultPeriod, ...], causes: set[str], *, ok: bool
) -> None:
    samples = [sample(t, alerts=alerts, level="outage") for t in range(4, 17)]
    found = check_consistency(sampled(*samples, fault_periods=fault_periods))
    assert set(found.causes) <= causes
    assert bool(found.causes) is bool(causes)
    assert (found.checks.violations == []) is ok


def test_a_fault_that_begins_during_a_sample_may_be_in_it() -> None:
    for began, ended, expected in (
        (4.9, 6.0, {"right"}),
        (4.1, 4.9, {"right"}),
        (5.1, 6.0, {"wrong"}),
    ):
        fault = FaultPeriod("redis_hole", "m0", began, ended)
        seen = sample(4.0, alerts=["redis-unreachable"], level="outage")
        assert set(check_consistency(sampled(seen, fault_periods=(fault,))).causes) == expected


def test_a_fault_that_ends_during_a_sample_may_be_missing_in_it() -> None:
    for ended, expected in ((15.9, set()), (16.1, {"missing"})):
        fault = FaultPeriod("redis_hole", "m0", 3.0, ended)
        seen = sample(15.0, alerts=[], level="outage")
        assert set(check_consistency(sampled(seen, fault_periods=(fault,))).causes) == expected


@pytest.mark.parametrize(
    ("redis", "alerts", "causes"),
    [
        ({"ip_used": {SOURCE: 5}}, ["address-spent"], {"right"}),
        ({"ip_used": {SOURCE: 5}}, ["redis-unreachable", "address-spent"], {"wrong"}),
        ({"ip_used": {SOURCE: 5}}, [], {"missing"}),
        ({"ip_used": {SOURCE: 4, "127.0.0.11": 5}}, [], set()),
        ({"ip_used": {SOURCE: 4}}, ["address-spent"], {"wrong"}),
        ({"used": {"axe": 3}}, ["budgets-spent"], {"right"}),
        ({"used": {"axe": 3}, "accounts": ["axe", "bane"]}, ["budgets-spent"], {"wrong"}),
    ],
)
def test_a_spent_budget_is_named(
    redis: dict[str, Any], alerts: list[str], causes: set[str]
) -> None:
    spent = {"code": 200, "body": {"budget": "spent"}}
    samples = [
        sample(t, redis=redis, alerts=alerts, readyz=spent, level="act") for t in range(4, 18)
    ]
    assert set(check_consistency(sampled(*samples)).causes) == causes


SPENT = {"redis": {"used": {"axe": 3}}}


@pytest.mark.parametrize(
    ("other", "fault_periods", "could"),
    [
        ({}, (), True),
        ({}, (FaultPeriod("valkey_kill", None, 0.0, 1.0),), False),
        ({}, (FaultPeriod("valkey_kill", None, -20.0, -9.0),), True),
        ({}, (FaultPeriod("redis_cut", "m1", 0.0, 1.0),), True),
        ({}, (FaultPeriod("redis_hole", "m0", -60.0, 60.0),), False),
        ({}, (FaultPeriod("log_unwritable", "m0", -60.0, 60.0),), True),
        ({}, (FaultPeriod("log_unwritable", "m0", -4.0, 60.0),), False),
        (SPENT, (), False),
        ({"steam": {}}, (), False),
        ({"redis": None}, (), False),
    ],
)
def test_refusals_without_a_fault_are_reported_if_a_bot_could_serve(
    other: dict[str, Any], fault_periods: tuple[FaultPeriod, ...], *, could: bool
) -> None:
    samples = [sample(t, **other) for t in range(10)]
    refusals = [Refusal("m0", "notready", 4.0 + n / 4, 4.1 + n / 4) for n in range(8)]
    found = check_refusals(sampled(*samples, fault_periods=fault_periods), refusals)
    expected = "m0 refused 8 requests (notready) that a bot could serve, from 4.1 to 5.8"
    assert found.violations == ([expected] if could else [])


def test_a_bot_that_was_briefly_away_excuses_a_refusal() -> None:
    samples = [sample(t, steam={SOURCE: ["axe"] if t != 4 else []}) for t in range(10)]
    refused = [Refusal("m0", "notready", 4.5, 4.6)]
    assert check_refusals(sampled(*samples), refused).violations == []


def test_a_refusal_without_samples_around_it_is_not_checked() -> None:
    refused = [Refusal("m0", "notready", 0.5, 0.6)]
    assert check_refusals(sampled(sample(1), sample(2)), refused).violations == []


def test_the_page_state_follows_its_events() -> None:
    page, well = Page(), {"level": "well", "kind": "well", "text": "All is well."}
    assert page.to_sample() is None
    bots = [{"bot_id": name, "state": "ready", "account": name[-1]} for name in ("bot-1", "bot-2")]
    page.apply("snapshot", {"bots": bots, "headlines": [well]})
    page.apply("update", {"gone_bots": ["bot-2"], "bots": [bots[0] | {"state": "parked"}]})
    assert page.to_sample() == {"bots": {"bot-1": ["parked", "1"]}, "alerts": [], "level": "well"}
    page.apply("update", {"headlines": [{"level": "act", "kind": "drained"}, well]})
    assert page.to_sample() == {
        "bots": {"bot-1": ["parked", "1"]},
        "alerts": ["drained"],
        "level": "act",
    }


def test_alerts_without_kinds_are_unknown() -> None:
    assert alert_kinds(None) is None
    assert alert_kinds([{"level": "act", "text": "?"}]) is None


def test_alerts_are_compared_without_the_kind_well() -> None:
    samples = [
        {"severity": "outage", "kind": "address-spent"},
        {"severity": "well", "kind": "well"},
    ]
    assert alert_kinds(samples) == ["address-spent"]


def test_sessions_are_those_with_a_gc_welcome() -> None:
    sessions, log_on = Sessions(), {"kind": "token_logon", "account": "axe", "source": SOURCE}
    steps = [
        ([log_on | {"session": 1}], {}),
        ([{"kind": "gc_welcome", "account": "axe", "session": 1}], {SOURCE: ["axe"]}),
        ([{"kind": "gc_session_lost", "account": "axe", "session": 1}], {}),
        ([{"kind": "gc_welcome", "account": "axe", "session": 1}], {SOURCE: ["axe"]}),
        ([{"kind": "session_ended", "account": "axe", "session": 1}], {}),
        ([{"kind": "gc_welcome", "account": "axe", "session": 1}], {}),
    ]
    for number, (events, expected) in enumerate(steps, 1):
        sessions.apply({"events": events, "last": number})
        assert sessions.by_source() == expected
    assert sessions.last == len(steps)
