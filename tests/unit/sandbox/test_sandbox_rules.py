"""Quotas, log-on limits, switches, journal and accounts file, without sockets."""

from __future__ import annotations

import asyncio
import json
import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.control.faults import FaultError, Faults
from sandbox.control.journal import Journal
from sandbox.gc.quota import WINDOW_S, QuotaResult, Quotas
from sandbox.gc.reordering import Reordering
from sandbox.steam import accounts
from sandbox.steam.logon_limits import LimitRule, PointCounter

DAY = float(WINDOW_S)


def test_a_budget_is_spent_per_account_and_per_ip() -> None:
    quotas = Quotas(per_account=2, per_ip=3)
    spent = [quotas.spend(name, "ip", 1000.0) for name in ("a", "a", "a", "b", "b")]
    served, by_account, by_ip = QuotaResult.SERVED, QuotaResult.ACCOUNT_SPENT, QuotaResult.IP_SPENT
    assert spent == [served, served, by_account, served, by_ip]
    assert quotas.spend("b", "other ip", 1000.0) is served


@given(st.lists(st.floats(0, 3 * DAY), max_size=60), st.integers(1, 5))
def test_no_rolling_day_ever_sees_more_than_the_limit(times: list[float], most: int) -> None:
    quotas = Quotas(per_account=most, per_ip=1000)
    served = [now for now in sorted(times) if quotas.spend("a", "ip", now) is QuotaResult.SERVED]
    for start in served:
        assert sum(1 for now in served if start <= now < start + DAY) <= most


def test_a_budget_comes_back_a_day_after_use() -> None:
    quotas = Quotas(per_account=1, per_ip=9)
    assert quotas.spend("a", "ip", 100.5) is QuotaResult.SERVED
    assert quotas.spend("a", "ip", 100.5 + DAY - 1) is QuotaResult.ACCOUNT_SPENT
    assert quotas.spend("a", "ip", 102.0 + DAY) is QuotaResult.SERVED


RULE = LimitRule(most=3, account_most=9, within_s=60, ban_s=100, failure_weight=3, token_weight=0)


def test_a_try_during_a_ban_restarts_it() -> None:
    limits = PointCounter()
    assert [limits.admit("ip", 3, RULE, 1, now) for now in (0, 1, 2, 3)] == [
        True,
        True,
        True,
        False,
    ]
    assert not limits.admit("ip", 3, RULE, 1, 102)  # the ban of 3 would have ended at 103
    assert not limits.admit("ip", 3, RULE, 1, 150)  # and this one started at 102
    assert limits.admit("ip", 3, RULE, 1, 251)


def test_a_failure_weighs_more() -> None:
    limits = PointCounter()
    assert limits.admit("ip", 3, RULE, 1, 0)
    limits.add_failure("ip", RULE, 1, 0)
    assert not limits.admit("ip", 3, RULE, 1, 1)


def test_a_log_on_of_no_weight_is_refused_only_by_a_ban_and_prolongs_it() -> None:
    limits = PointCounter()
    assert all(limits.admit("ip", 3, RULE, 0, now) for now in range(50))
    assert [limits.admit("ip", 3, RULE, 1, 50 + now) for now in range(4)] == [True] * 3 + [False]
    assert not limits.admit("ip", 3, RULE, 0, 150)
    assert not limits.admit("ip", 3, RULE, 0, 249)
    assert limits.admit("ip", 3, RULE, 0, 350)


@pytest.fixture
def faults() -> Faults:
    return Faults(random.Random(1))


def test_a_switch_can_be_limited_to_accounts_cms_and_times(faults: Faults) -> None:
    faults.set({"logon_eresult": {"value": 20, "accounts": ["a"], "cms": ["ws1"], "times": 2}})
    assert faults.take("logon_eresult", account="b", cm="ws1") is None
    assert faults.take("logon_eresult", account="a", cm="ws2") is None
    taken = [faults.take("logon_eresult", account="a", cm="ws1") for _ in range(3)]
    assert taken == [20, 20, None]


def test_short_forms_of_switches(faults: Faults) -> None:
    faults.set({"gc_silent": ["a"], "lose_hellos": 2, "gc_down": True, "gc_delay_ms": [1, 5]})
    assert faults.take("gc_silent", account="a") is True
    assert faults.take("gc_silent", account="b") is None
    assert [faults.take("lose_hellos") for _ in range(3)] == [True, True, None]
    assert faults.take("gc_delay_ms") == [1, 5]
    faults.set({"gc_down": False})
    assert set(faults.to_json()) == {"gc_silent", "gc_delay_ms"}
    faults.clear()
    assert faults.to_json() == {}


@pytest.mark.parametrize(
    "wanted",
    [
        {"no_such_switch": True},
        {"logon_eresult": "five"},
        {"gc_delay_ms": True},
        {"gc_silent": {"value": True, "who": ["a"]}},
        {"gc_silent": {"accounts": "a"}},
        {"gc_silent": {"times": "many"}},
    ],
)
def test_a_bad_switch_changes_nothing(faults: Faults, wanted: dict[str, Any]) -> None:
    with pytest.raises(FaultError):
        faults.set({"gc_down": True} | wanted)
    assert faults.to_json() == {}


def test_a_chance_is_applied_about_that_often(faults: Faults) -> None:
    faults.set({"gc_silent": {"chance": 0.25}})
    taken = sum(faults.take("gc_silent", default=False) for _ in range(2000))
    assert 400 < taken < 600


def logon(journal: Journal, account: str, session: int) -> None:
    journal.add(
        "token_logon",
        connection=session,
        account=account,
        source="ip",
        session=session,
        steamid="1",
        logon_id=0,
    )


def end(journal: Journal, account: str, session: int) -> None:
    journal.add(
        "session_ended",
        connection=session,
        account=account,
        session=session,
        reason="x",
        eresult=None,
        clean=False,
        idle_s=0.0,
    )


def test_the_journal_knows_how_many_sessions_an_account_had_at_once() -> None:
    journal = Journal()
    logon(journal, "a", 1)
    end(journal, "a", 1)
    logon(journal, "a", 2)
    logon(journal, "b", 3)
    logon(journal, "b", 4)
    end(journal, "b", 3)
    assert journal.facts.max_concurrent == {"a": 1, "b": 2}
    assert journal.facts.sessions_now == {"a": 1, "b": 1}
    assert [event["n"] for event in journal.read(kinds=frozenset({"session_ended"}), limit=9)] == [
        2,
        6,
    ]
    assert len(journal.read(since=4, limit=9)) == 2


def test_an_event_needs_exactly_its_fields() -> None:
    with pytest.raises((TypeError, KeyError)):
        Journal().add("tokens_revoked", account="a", extra=1)
    with pytest.raises(KeyError):
        Journal().add("tokens_revoked", name="a")


async def test_waiting_counts_past_and_new_events() -> None:
    journal = Journal()
    logon(journal, "a", 1)
    kinds = frozenset({"token_logon"})
    waiting = asyncio.create_task(journal.wait(kinds, 2, 5.0, match={"account": "a"}))
    await asyncio.sleep(0)
    logon(journal, "b", 2)
    assert not waiting.done()
    logon(journal, "a", 3)
    assert await waiting
    assert await journal.wait(kinds, 3, 0.0)
    assert not await journal.wait(kinds, 1, 0.01, since=3)


def test_held_answers_are_never_sent_in_their_original_order() -> None:
    for seed in range(20):
        sent: list[int] = []
        reordering = Reordering(random.Random(seed))
        reordering._sends = [partial(sent.append, number) for number in range(3)]
        reordering.flush()
        assert sorted(sent) == [0, 1, 2]
        assert sent != [0, 1, 2]


def write(tmp_path: Path, value: object) -> Path:
    file = tmp_path / "accounts.json"
    file.write_text(json.dumps(value))
    return file


def test_the_demo_accounts_load() -> None:
    file = Path(accounts.__file__).parents[1] / "demo_accounts.json"
    known = list(accounts.load(file))
    assert len(known) == 5
    assert [bool(account.shared_secret) for account in known].count(True) == 1
    assert not any(account.email_code for account in known)


def test_accounts_are_found_by_any_case_and_by_steamid(tmp_path: Path) -> None:
    known = accounts.load(write(tmp_path, [{"name": "Bob", "password": "p", "account_id": 5}]))
    bob = known.by_name("bOB")
    assert bob is not None
    assert known.by_steamid(76561197960265728 + 5) is bob
    assert "'p'" not in repr(bob)


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ([], "at least one"),
        ({"name": "a"}, "list"),
        (["a"], "entry 1"),
        ([{"name": "a"}], "password"),
        ([{"name": "a", "password": "p", "colour": 1}], "colour"),
        ([{"name": "a", "password": 5}], "password must be a text"),
        ([{"name": "a", "password": "p", "email_code": True}], "email_code must be a text"),
        ([{"name": "a", "password": "p", "disabled": "no"}], "disabled must be true or false"),
        ([{"name": "a", "password": "p", "account_id": 0}], "account_id must be a number above 0"),
        ([{"name": "a", "password": "p", "shared_secret": "?"}], "base64"),
        ([{"name": "a", "password": "p"}, {"name": "A", "password": "p"}], "share"),
    ],
)
def test_a_bad_accounts_file_is_refused_with_its_fault(
    tmp_path: Path, entries: object, complaint: str
) -> None:
    with pytest.raises(accounts.AccountsError, match=complaint):
        accounts.load(write(tmp_path, entries))
