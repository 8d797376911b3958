"""The checks report every broken promise and accept what is allowed."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from bench.chaos.checker import (
    CheckResult,
    DataLoss,
    Observations,
    ProcessEnd,
    Unreachable,
    check_accounts,
    check_round,
)
from bench.chaos.faults import KINDS
from bench.chaos.plan import plan

Event = dict[str, Any]


class Journal:
    """Collects events in the form of the simulated Steam's journal."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def add(
        self,
        kind: str,
        account: str,
        session: int = 0,
        source: str = "10.0.0.1",
        t: float | None = None,
    ) -> None:
        self.events.append(
            {
                "n": len(self.events) + 1,
                "t": float(len(self.events) + 1) if t is None else t,
                "kind": kind,
                "account": account,
                "session": session,
                "source": source,
                "match_id": 1,
                "outcome": "answered",
            }
        )


@pytest.fixture
def journal() -> Journal:
    return Journal()


def check(
    journal: Journal, *, since: int = 0, counted: int = 10, day: float = 10, per_ip: int = 5
) -> CheckResult:
    return check_round(
        Observations(
            journal.events,
            since,
            per_account=3,
            per_ip=per_ip,
            counted={"account:axe": counted, "account:bane": counted, "ip:10.0.0.1": counted},
            counted_by_day={"axe": day, "bane": day},
        )
    )


def test_consecutive_sessions_are_accepted(journal: Journal) -> None:
    for session in (1, 2):
        journal.add("token_logon", "axe", session)
        journal.add("match_request", "axe", session)
        journal.add("session_ended", "axe", session)
    found = check(journal)
    assert found.violations == []
    assert found.counts["log-ons"] == 2


def test_two_sessions_at_once_are_reported(journal: Journal) -> None:
    journal.add("token_logon", "axe", 1)
    journal.add("token_logon", "bane", 2)
    journal.add("token_logon", "axe", 3, "10.0.0.2")
    (violation,) = check(journal).violations
    assert violation == "axe: 10.0.0.2 logged on at 3 beside 10.0.0.1 since 1"


def test_a_request_of_an_older_session_is_reported(journal: Journal) -> None:
    journal.add("token_logon", "axe", 1)
    journal.add("session_ended", "axe", 1)
    journal.add("token_logon", "axe", 2)
    journal.add("match_request", "axe", 1)
    (violation,) = check(journal).violations
    assert "not the newest" in violation


def test_an_exceeded_account_quota_is_reported(journal: Journal) -> None:
    journal.add("token_logon", "axe", 1)
    for _ in range(4):
        journal.add("match_request", "axe", 1)
    assert check(journal).violations == ["account:axe sent 4, 3 are allowed"]


def test_an_exceeded_address_quota_is_reported(journal: Journal) -> None:
    journal.add("token_logon", "axe", 1)
    journal.add("token_logon", "bane", 2)
    for session, account in ((1, "axe"), (2, "bane")):
        journal.add("match_request", account, session)
    assert check(journal, per_ip=1).violations == ["ip:10.0.0.1 sent 2, 1 are allowed"]


def test_an_uncounted_request_is_reported(journal: Journal) -> None:
    journal.add("token_logon", "axe", 1)
    journal.add("match_request", "axe", 1)
    assert len(check(journal, counted=0).violations) == 2  # of the account, of the address
    assert len(check(journal, day=0).violations) == 1


def test_a_second_password_is_reported(journal: Journal) -> None:
    journal.add("credential_logon", "axe")
    assert check(journal, since=1).violations == []
    journal.add("credential_logon", "axe")
    assert check(journal, since=1).violations == ["axe needed its password again at 2.0"]


@pytest.mark.parametrize("kind", ["protocol_violation", "sandbox_error"])
def test_a_protocol_violation_is_reported(journal: Journal, kind: str) -> None:
    journal.add(kind, "axe")
    assert len(check(journal).violations) == 1


@pytest.mark.parametrize(
    ("score", "lease", "all_free", "ok"),
    [
        (0, None, False, True),
        (1, 5.0, False, True),
        (1, -3.0, False, True),  # expired: another instance may take the account
        (1, None, False, False),
        (0, None, True, True),
        (1, 5.0, True, False),
    ],
)
def test_an_account_is_free_or_leased(
    score: int, lease: float | None, *, all_free: bool, ok: bool
) -> None:
    facts = {"scores": {"axe": score}, "leases": {} if lease is None else {"axe": lease}}
    assert (check_accounts(facts, all_free=all_free).violations == []) is ok


def test_a_plan_depends_on_its_seed_and_has_every_kind() -> None:
    weights = {name: kind.weight for name, kind in KINDS.items()}
    plans = [
        plan(seed, weights, members=3, length_s=60, every_s=1)
        for seed in (1, 1, random.randrange(9))
    ]
    assert plans[0] == plans[1]
    assert len(plans[0]) == 60
    assert {one.kind for one in plans[2]} == set(KINDS)
    assert [one.at_s for one in plans[2]] == sorted(one.at_s for one in plans[2])


RENEWAL_S = 5.0


def after(
    journal: Journal,
    *losses: DataLoss,
    unreachable: tuple[Unreachable, ...] = (),
    ends: tuple[ProcessEnd, ...] = (),
) -> CheckResult:
    counted = {"account:axe": 0, "ip:10.0.0.1": 0, "ip:10.0.0.2": 0}
    return check_round(
        Observations(
            journal.events,
            0,
            per_account=3,
            per_ip=9,
            counted=counted,
            counted_by_day={},
            losses=losses,
            unreachable=unreachable,
            renewal_s=RENEWAL_S,
            ends=ends,
        )
    )


def overlap(journal: Journal, begin: float, end: float | None) -> None:
    """Add two sessions of one account; the older one sends a request and leaves at `end`."""
    journal.add("token_logon", "axe", 1, t=1.0)
    journal.add("token_logon", "axe", 2, "10.0.0.2", t=begin)
    journal.add("match_request", "axe", 1, t=begin + 0.1)
    if end is not None:
        journal.add("session_ended", "axe", 1, t=end)


ALL_LOST = DataLoss(-math.inf, 100.0)
ON_ITS_WAY = 101.0  # so that the request in between need not be counted


@pytest.mark.parametrize(
    ("begin", "end", "ok"),
    [
        (ON_ITS_WAY, 107.0, True),
        (ON_ITS_WAY, 109.0, False),  # longer than one renewal
        (ON_ITS_WAY, None, False),
        (99.0, 101.0, False),  # before the loss
        (109.0, 110.0, False),  # every holder has renewed by then
    ],
)
def test_an_overlap_of_one_renewal_is_accepted_after_a_loss(
    journal: Journal, begin: float, end: float | None, *, ok: bool
) -> None:
    overlap(journal, begin, end)
    violations = [one for one in after(journal, ALL_LOST).violations if "counted" not in one]
    assert (violations == []) is ok
    assert after(journal, ALL_LOST).counts["overlaps after a loss"] == ok


@pytest.mark.parametrize(("source", "ok"), [("10.0.0.1", True), (None, True), ("10.0.0.2", False)])
def test_a_holder_that_could_not_renew_gets_one_renewal_afterwards(
    journal: Journal, source: str | None, *, ok: bool
) -> None:
    overlap(journal, ON_ITS_WAY, 113.0)
    cut_off = (Unreachable(source, 95.0, 108.0),)
    assert (after(journal, ALL_LOST, unreachable=cut_off).violations == []) is ok


def test_quotas_are_counted_from_zero_after_a_loss(journal: Journal) -> None:
    journal.add("token_logon", "axe", 1, t=1.0)
    for t in (
        50.0,
        60.0,
        70.0,
        101.0,
        110.0,
        111.0,
        112.0,
    ):  # 101: counted before the loss
        journal.add("match_request", "axe", 1, t=t)
    emptied, put_back = DataLoss(-math.inf, 100.0), DataLoss(65.0, 100.0)
    assert not [one for one in after(journal, emptied).violations if "allowed" in one]
    assert "account:axe sent 3, 0 are counted" in after(journal, emptied).violations
    # Two of those before the loss remain, and three follow.
    assert "account:axe sent 5, 3 are allowed" in after(journal, put_back).violations
    assert "account:axe sent 5, 0 are counted" in after(journal, put_back).violations
    journal.add("match_request", "axe", 1, t=113.0)
    assert "account:axe sent 4, 3 are allowed" in after(journal, emptied).violations


NEEDED = "axe needed its password again at"


def test_a_password_is_accepted_once_per_loss_of_the_token(journal: Journal) -> None:
    journal.add("credential_logon", "axe", t=90.0)
    assert after(journal, ALL_LOST).violations == [f"{NEEDED} 90.0"]  # before the loss
    journal.events.clear()
    for t in (110.0, 120.0):
        journal.add("credential_logon", "axe", t=t)
    assert after(journal, ALL_LOST, DataLoss(-math.inf, 115.0)).violations == []
    assert after(journal, ALL_LOST).violations == [f"{NEEDED} 120.0"]
    # The tokens are older than that.
    assert len(after(journal, DataLoss(50.0, 100.0)).violations) == 2
    assert after(journal, ALL_LOST, DataLoss(105.0, 115.0)).violations == []  # an old snapshot
    since_it_was_stored = DataLoss(113.0, 115.0)
    assert after(journal, ALL_LOST, since_it_was_stored).violations == [f"{NEEDED} 120.0"]


@pytest.mark.parametrize(
    ("ended_at", "source", "unreachable", "ok"),
    [
        (111.0, "10.0.0.1", (), True),  # shortly after the log-on
        (109.9, "10.0.0.1", (), False),
        (113.0, "10.0.0.1", (), False),  # the token was stored by then
        (113.0, "10.0.0.1", (Unreachable("10.0.0.1", 109.0, 115.0),), True),
        (118.0, "10.0.0.1", (Unreachable("10.0.0.1", 109.0, 115.0),), False),
        (113.0, "10.0.0.1", (Unreachable("10.0.0.2", 109.0, 115.0),), False),
        (111.0, "10.0.0.2", (), False),
    ],
)
def test_a_token_may_be_lost_with_a_process_that_could_not_store_it(
    journal: Journal,
    ended_at: float,
    source: str,
    unreachable: tuple[Unreachable, ...],
    *,
    ok: bool,
) -> None:
    for t in (110.0, 120.0):
        journal.add("credential_logon", "axe", t=t)
    ends = (ProcessEnd(source, ended_at),)
    found = after(journal, ALL_LOST, unreachable=unreachable, ends=ends).violations
    assert found == ([] if ok else [f"{NEEDED} 120.0"])


def test_evenly_planned_faults_have_equal_distances() -> None:
    found = plan(1, {"pause": 1}, members=3, length_s=60, every_s=20, evenly=True)
    assert [one.at_s for one in found] == [0, 20, 40]
