"""What a page shows, and that only what really changed is sent again."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from actors.accounts.admin import AccountRow, AccountState, IpRow
from actors.bot.messages import BotReport, FleetPlan
from actors.bot.states import BotState
from actors.dashboard.history import POINT_S, FleetHistory
from actors.dashboard.snapshot import Snapshot, account_view, changes, ip_view, whole
from actors.router.messages import RouterReport

NOW = 1_700_000_000.0


def bot(bot_id: str, state: BotState = BotState.READY) -> BotReport:
    return BotReport(bot_id, state, NOW, None, 0, None, None)


def row(name: str = "axe", **changes: object) -> AccountRow:
    base = AccountRow(
        name, AccountState.IN_USE, 3, 87, "host/bot-1", 50.0, 40.0, None, None, 60.0, 100.0
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def snapshot_of(*bots: BotReport) -> Snapshot:
    plan = FleetPlan(2, 2, drained=False, parked=(), leaving=())
    table = {one.bot_id: one for one in bots}
    return Snapshot(table, {}, {}, plan, RouterReport(0, 0, 0), {}, (), {})


def test_only_what_changed_is_sent() -> None:
    before = snapshot_of(bot("bot-1"), bot("bot-2"), bot("bot-3"))
    parked = bot("bot-2", BotState.PARKED)
    after = replace(
        before, bots={"bot-1": before.bots["bot-1"], "bot-2": parked, "bot-4": bot("bot-4")}
    )
    assert changes(before, after) == {
        "bots": [parked, after.bots["bot-4"]],
        "gone_bots": ["bot-3"],
    }
    assert changes(before, before) == {}
    assert changes(before, snapshot_of(bot("bot-1"), bot("bot-2"), bot("bot-3"))) == {}


def test_parts_are_sent_whole() -> None:
    before = snapshot_of()
    after = replace(before, router=RouterReport(1, 2, 3))
    assert changes(before, after) == {"router": RouterReport(1, 2, 3)}
    plan = replace(before.fleet, drained=True)
    assert changes(before, replace(before, fleet=plan)) == {"fleet": plan}


def test_the_whole_has_every_part() -> None:
    assert set(whole(snapshot_of(bot("bot-1")))) == {
        *("bots", "accounts", "ips", "fleet", "router", "config", "headlines", "about")
    }


def test_an_account_that_rests_is_the_same_a_while_later() -> None:
    first = account_view(row(), NOW, None)
    later = row(held_for_s=60.2, lease_left_s=55.0, last_logon_s=69.4, frees_in_s=89.9)
    assert account_view(later, NOW + 10, first) is first
    used = account_view(replace(later, used=4, left=86), NOW + 10, first)
    assert (used.used, used.frees_at, used.held_since) == (4, first.frees_at, first.held_since)


def test_instants_are_computed_from_ages() -> None:
    view = account_view(row(cooldown_s=30.0, cooldown_reason="needs a code"), NOW, None)
    assert (view.held_since, view.last_logon_at) == (NOW - 50, NOW - 60)
    assert (view.frees_at, view.cooldown_until) == (NOW + 100, NOW + 30)
    assert view.needs_you
    assert not account_view(row(cooldown_s=1.0, cooldown_reason="spent"), NOW, None).needs_you
    assert (view.need, view.command) == ("a code", "botapi accounts reset axe")
    budget = ip_view(IpRow("192.0.2.1", 3, 447, 90.0), NOW, None)
    assert budget.frees_at == NOW + 90
    assert ip_view(IpRow("192.0.2.1", 3, 447, 80.5), NOW + 10, budget) is budget


@pytest.mark.parametrize("state", BotState)
def test_every_state_is_counted_once(state: BotState) -> None:
    history = FleetHistory()
    history.add(NOW, [bot("bot-1", state)], needs_you=2)
    (latest,) = history.points
    assert latest.ready + latest.recovering + latest.parked == 1
    assert (latest.ready, latest.parked) == (state is BotState.READY, state is BotState.PARKED)
    assert latest.needs_you == 2


def test_the_history_has_a_point_every_ten_seconds_for_an_hour() -> None:
    history = FleetHistory()
    for second in range(2 * 3600):
        history.add(NOW + second, [], needs_you=0)
    points = history.points
    assert len(points) == 3600 // POINT_S
    assert {b.at - a.at for a, b in pairwise(points)} == {POINT_S}
