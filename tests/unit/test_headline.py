"""The line on top of the page: what is wrong, what to do, the most urgent first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from actors.accounts.admin import AccountState
from actors.bot_states import BotState
from actors.fleet_orders import FleetPlan
from actors.headline import Facts, Level, Line, headlines
from actors.messages import BotReport
from actors.views import AccountView, IpView

NOW = 1_700_000_000.0
PLAN = FleetPlan(2, 2, drained=False, parked=(), leaving=())
S, A = BotState, AccountState


def account(name: str, **changes: Any) -> AccountView:
    base = AccountView(name, A.IN_USE, 10, 80, "h/bot-1", 1, None, None, 1, None, needs_you=False)
    return replace(base, **changes)


def facts(*states: BotState, accounts: list[AccountView] | None = None, **changes: Any) -> Facts:
    bots = {
        f"bot-{number}": BotReport(f"bot-{number}", state, NOW, None, 0, None, None)
        for number, state in enumerate(states, 1)
    }
    known = [account("axe"), account("bane")] if accounts is None else accounts
    base = Facts(NOW, bots, {one.account: one for one in known}, {}, PLAN, {}, None)
    return replace(base, **changes)


NEEDY = account(
    "mail",
    state=A.COOLING_DOWN,
    cooldown_reason="needs a Steam Guard code (result 63)",
    needs_you=True,
)
SPENT = account("axe", state=A.SPENT, used=90, left=0, frees_at=int(NOW) + 60)


@pytest.mark.parametrize(
    ("found", "level", "says", "todo"),
    [
        (facts(S.READY, S.READY), Level.WELL, "2 of 2 bots are ready, 160 requests left", None),
        (facts(S.READY, S.BACKING_OFF), Level.WATCH, "1 of 2 bots are ready", None),
        (facts(), Level.WATCH, "starting", None),
        (facts(S.CONNECTING), Level.WATCH, "No bot is ready yet; 1 is on the way", None),
        (facts(S.READY, accounts=[NEEDY]), Level.ACT, "mail needs a Steam Guard code", "Open it"),
        (facts(S.WAITING_FOR_ACCOUNT, accounts=[]), Level.ACT, "no account yet", "Add one"),
        (facts(S.WAITING_FOR_ACCOUNT, accounts=[SPENT]), Level.ACT, "frees {when}", "add accounts"),
        (facts(S.WAITING_FOR_ACCOUNT), Level.ACT, "none finds a free account", "release"),
        (
            facts(S.READY, S.WAITING_FOR_ACCOUNT),
            Level.WATCH,
            "find no free account",
            "Add accounts",
        ),
        (facts(S.READY, S.PARKED), Level.ACT, "bot-2 failed too often", "restart"),
        (
            facts(S.READY, S.PARKED, fleet=replace(PLAN, parked=("bot-2",))),
            Level.WATCH,
            "bot-2 is parked by hand",
            None,
        ),
        (
            facts(S.PARKED, S.PARKED, fleet=replace(PLAN, drained=True)),
            Level.ACT,
            "drained. Every account is free",
            "Resume",
        ),
        (
            facts(S.PARKED, S.DRAINING, fleet=replace(PLAN, drained=True, leaving=("bot-2",))),
            Level.ACT,
            "drained. 1 of the bots still finish",
            "Resume",
        ),
        (facts(S.READY, store="Redis is unavailable"), Level.ACT, "Redis", "redis.url"),
        (facts(S.READY, config={"refused": "bad"}), Level.ACT, "bad", "Correct"),
        (facts(S.READY, config={"needs_restart": ("http.port",)}), Level.WATCH, "http.port", None),
        (
            facts(S.READY, ips={"192.0.2.1": IpView("192.0.2.1", 450, 0, int(NOW))}),
            Level.ACT,
            "192.0.2.1 is spent; it frees {when}",
            "another address",
        ),
    ],
)
def test_the_headline_says_what_is_and_what_to_do(
    found: Facts, level: Level, says: str, todo: str | None
) -> None:
    headline = headlines(found)[0]
    assert headline.level is level
    assert says in headline.text
    assert (headline.todo is None) is (todo is None)
    assert todo is None or todo in (headline.todo or "")
    assert ("{when}" in headline.text) is (headline.when is not None)


def test_the_most_urgent_line_comes_first_and_no_trouble_is_left_out() -> None:
    found = facts(S.READY, S.BACKING_OFF, accounts=[NEEDY], store="Redis is unavailable")
    lines = headlines(found)
    assert [line.level for line in lines] == [Level.ACT, Level.ACT, Level.WATCH]
    assert "Redis" in lines[0].text


def test_many_accounts_that_need_somebody_are_counted_not_listed() -> None:
    needy = [replace(NEEDY, account=f"mail{number}") for number in range(10)]
    lines = headlines(facts(S.READY, accounts=needy))
    assert len(lines) == 4
    assert lines[-1] == Line(Level.ACT, "7 more accounts need you.")


def test_many_parked_bots_are_counted_not_listed() -> None:
    lines = headlines(facts(*[S.PARKED] * 10, S.READY))
    assert lines[0].text == "bot-1, bot-2, bot-3 and 7 more failed too often and are parked."
