"""The line on top of the page: what is wrong, what to do, the most urgent first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from actors.accounts.admin import AccountState
from actors.bot.messages import BotReport, FleetPlan
from actors.bot.shared_causes import CauseKind, SharedCause
from actors.bot.states import BotState
from actors.dashboard.alerts import alerts
from actors.dashboard.snapshot import AccountView, Alert, IpView, Severity, Snapshot
from actors.router.messages import RouterReport

NOW = 1_700_000_000.0
PLAN = FleetPlan(2, 2, drained=False, parked=(), leaving=())
S, A = BotState, AccountState


def account(name: str, **changes: Any) -> AccountView:
    base = AccountView(name, A.IN_USE, 10, 80, "h/bot-1", 1, None, None, 1, None, needs_you=False)
    return replace(base, **changes)


def facts(*states: BotState, accounts: list[AccountView] | None = None, **changes: Any) -> Snapshot:
    bots = {
        f"bot-{number}": BotReport(f"bot-{number}", state, NOW, None, 0, None, None)
        for number, state in enumerate(states, 1)
    }
    known = [account("axe"), account("bane")] if accounts is None else accounts
    base = Snapshot(bots, {one.account: one for one in known}, {}, PLAN, None, {})
    return replace(base, **changes)


NEEDY = account(
    "mail",
    state=A.COOLING_DOWN,
    cooldown_reason="needs a Steam Guard code (result 63)",
    needs_you=True,
    need="a Steam Guard code (result 63)",
    command="botapi accounts login mail",
)
SPENT = account("axe", state=A.SPENT, used=90, left=0, frees_at=int(NOW) + 60)


@pytest.mark.parametrize(
    ("found", "level", "says", "todo"),
    [
        (facts(S.READY, S.READY), Severity.WELL, "2 of 2 bots are ready, 160 requests left", None),
        (facts(S.READY, S.BACKING_OFF), Severity.WATCH, "1 of 2 bots are ready", None),
        (facts(), Severity.WATCH, "starting", None),
        (
            facts(S.READY, router=RouterReport(0, 0, 0, refusal="no bot is ready to ask")),
            Severity.WATCH,
            "New matches are refused for now: no bot is ready to ask.",
            None,
        ),
        (
            facts(
                S.READY,
                router=RouterReport(
                    0, 0, 0, "it is spent", "spent", int(NOW) + 60, {"192.0.2.1": int(NOW) + 60}
                ),
            ),
            Severity.OUTAGE,
            "The budget of the address 192.0.2.1 is spent; it frees at {when}.",
            "another address",
        ),
        (facts(S.CONNECTING), Severity.WATCH, "No bot is ready yet; 1 is on the way", None),
        (
            facts(S.WAITING_FOR_ACCOUNT, unusable={"axe": "a wrong key", "bane": "a wrong key"}),
            Severity.ACT,
            "cannot use 2 accounts: a wrong key",
            "other instances may",
        ),
        (
            facts(S.READY, accounts=[NEEDY]),
            Severity.ACT,
            "mail needs a Steam Guard code",
            "type: botapi accounts login mail",
        ),
        (facts(S.WAITING_FOR_ACCOUNT, accounts=[]), Severity.ACT, "no account yet", "Add one"),
        (
            facts(S.WAITING_FOR_ACCOUNT, accounts=[SPENT]),
            Severity.ACT,
            "frees at {when}",
            "add accounts",
        ),
        (facts(S.WAITING_FOR_ACCOUNT), Severity.ACT, "none finds a free account", "release"),
        (
            facts(S.READY, S.WAITING_FOR_ACCOUNT),
            Severity.WATCH,
            "find no free account",
            "Add accounts",
        ),
        (facts(S.READY, S.PARKED), Severity.ACT, "bot-2 failed too often", "restart"),
        (
            facts(S.READY, S.PARKED, fleet=replace(PLAN, parked=("bot-2",))),
            Severity.WATCH,
            "bot-2 is parked by hand",
            None,
        ),
        (
            facts(S.PARKED, S.PARKED, fleet=replace(PLAN, drained=True)),
            Severity.ACT,
            "drained. Every account is free",
            "Resume",
        ),
        (
            facts(S.PARKED, S.DRAINING, fleet=replace(PLAN, drained=True, leaving=("bot-2",))),
            Severity.ACT,
            "drained. 1 of the bots still finish",
            "Resume",
        ),
        (facts(S.READY, store="Redis is unavailable"), Severity.ACT, "Redis", "redis.url"),
        (facts(S.READY, config={"refused": "bad"}), Severity.ACT, "bad", "Correct"),
        (
            facts(S.READY, config={"needs_restart": ("http.port",)}),
            Severity.WATCH,
            "http.port",
            None,
        ),
        (
            facts(S.READY, ips={"192.0.2.1": IpView("192.0.2.1", 450, 0, int(NOW))}),
            Severity.OUTAGE,
            "192.0.2.1 is spent; it frees at {when}",
            "another address",
        ),
    ],
)
def test_the_headline_says_what_is_and_what_to_do(
    found: Snapshot, level: Severity, says: str, todo: str | None
) -> None:
    alert = alerts(found)[0]
    assert alert.level is level
    assert says in alert.text
    assert (alert.todo is None) is (todo is None)
    assert todo is None or todo in (alert.todo or "")
    assert ("{when}" in alert.text) is (alert.when is not None)


def test_the_most_urgent_line_comes_first_and_no_trouble_is_left_out() -> None:
    found = facts(S.READY, S.BACKING_OFF, accounts=[NEEDY], store="Redis is unavailable")
    lines = alerts(found)
    assert [line.level for line in lines] == [Severity.ACT, Severity.ACT, Severity.WATCH]
    assert "Redis" in lines[0].text


def test_many_accounts_that_need_a_person_are_counted_not_listed() -> None:
    needy = [replace(NEEDY, account=f"mail{number}") for number in range(10)]
    lines = alerts(facts(S.READY, accounts=needy))
    assert len(lines) == 4
    more = ("7 more accounts need you.", "`botapi status` lists them.")
    assert lines[-1] == Alert(Severity.ACT, "account-needs-person", *more)


def test_many_parked_bots_are_counted_not_listed() -> None:
    lines = alerts(facts(*[S.PARKED] * 10, S.READY))
    assert lines[0].text == "bot-1, bot-2, bot-3 and 7 more failed too often and are parked."


# -- causes that many bots share -----------------------------------------------------------------

K = CauseKind
UNTIL = NOW + 2100


def cause(
    kind: CauseKind, bots: int, reason: str = "connection refused", **more: Any
) -> SharedCause:
    return SharedCause(kind, NOW, reason, frozenset(f"bot-{n}" for n in range(1, bots + 1)), **more)


LIMITED = cause(K.LOGONS_LIMITED, 89, until=UNTIL, address="192.0.2.1")


@pytest.mark.parametrize(
    ("shared", "text", "todo", "when"),
    [
        (
            cause(K.STEAM_UNREACHABLE, 296, "Connection refused"),
            "Steam has not been reachable since {when} (296 of 296 bots: connection refused).",
            "Nothing to do.",
            NOW,
        ),
        (
            cause(K.STEAM_UNREACHABLE, 3, "GetCMList: 500"),
            "Steam has not been reachable since {when} (3 of 296 bots: GetCMList: 500).",
            "Nothing to do.",
            NOW,
        ),
        (
            cause(K.GC_UNAVAILABLE, 5),
            "The Dota 2 Game Coordinator has not answered since {when} (5 of 296 bots).",
            "Nothing to do.",
            NOW,
        ),
        (
            LIMITED,
            "Steam limits log-ons from 192.0.2.1 until {when}; 89 bots wait; do not restart.",
            None,
            UNTIL,
        ),
        (
            cause(K.LOGONS_LIMITED, 1),
            "Steam limits log-ons from this address since {when}; 1 bot waits; do not restart.",
            None,
            NOW,
        ),
        (
            cause(K.SAME_REFUSAL, 12, "result 18 at the log-on"),
            (
                "Steam refuses all log-ons (result 18 at the log-on) since {when}; 12 accounts; "
                "retried by itself."
            ),
            None,
            NOW,
        ),
        (
            cause(K.REDIS_UNREACHABLE, 0, "timed out"),
            "Redis has not answered since {when}, so no new match can be asked for.",
            "Check the Redis server at redis.url. The service recovers by itself.",
            NOW,
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, SharedCause) else None,
)
def test_a_shared_cause_is_one_line_with_since_when_and_how_many(
    shared: SharedCause, text: str, todo: str | None, when: float
) -> None:
    lines = alerts(facts(*[S.BACKING_OFF] * 296, causes=(shared,)))
    assert lines == (Alert(Severity.OUTAGE, shared.kind, text, todo, when),)


def test_every_kind_of_cause_has_a_line() -> None:
    for kind in CauseKind:
        (line,) = alerts(facts(S.BACKING_OFF, causes=(cause(kind, 1),)))
        assert (line.level, line.kind) == (Severity.OUTAGE, kind)


def test_shared_causes_come_before_what_a_person_must_do_and_that_before_the_rest() -> None:
    spent = IpView("192.0.2.1", 450, 0, int(NOW))
    found = facts(
        S.READY,
        S.BACKING_OFF,
        accounts=[NEEDY],
        ips={"192.0.2.1": spent},
        config={"refused": "bad"},
        causes=(LIMITED,),
    )
    assert [line.kind for line in alerts(found)] == [
        "logons-limited",
        "address-spent",
        "settings-refused",
        "account-needs-person",
        "recovering",
    ]


@pytest.mark.parametrize("state", [S.WAITING_FOR_ACCOUNT, S.CONNECTING, S.BACKING_OFF, S.PARKED])
@pytest.mark.parametrize("kind", list(CauseKind))
def test_while_a_cause_lasts_no_bot_and_no_account_is_blamed_for_it(
    state: BotState, kind: CauseKind
) -> None:
    found = facts(*[state] * 10, causes=(cause(kind, 10),), store="Redis is unavailable")
    bots = {name: replace(one, cause=kind) for name, one in found.bots.items()}
    others = alerts(replace(found, bots=bots))[1:]
    allowed = set() if kind is K.REDIS_UNREACHABLE else {"redis-refuses"}
    assert {line.kind for line in others} <= allowed


def test_bots_that_are_ready_are_counted_without_a_word_on_the_others() -> None:
    lines = alerts(facts(S.READY, S.WAITING_FOR_ACCOUNT, causes=(LIMITED,)))
    assert lines[1] == Alert(Severity.WATCH, "recovering", "1 of 2 bots are ready.")


def test_a_bot_that_failed_by_itself_is_named_also_during_an_outage() -> None:
    found = facts(S.PARKED, S.PARKED, causes=(cause(K.STEAM_UNREACHABLE, 1),))
    found = replace(
        found, bots={**found.bots, "bot-2": replace(found.bots["bot-2"], cause=K.STEAM_UNREACHABLE)}
    )
    assert [line.text for line in alerts(found)[1:]] == ["bot-1 failed too often and is parked."]


def test_after_an_outage_bots_that_it_parked_are_on_the_way() -> None:
    found = facts(S.PARKED)
    bots = {"bot-1": replace(found.bots["bot-1"], cause=K.STEAM_UNREACHABLE)}
    (line,) = alerts(replace(found, bots=bots))
    assert line.text == "No bot is ready yet; 1 is on the way."
    by_hand = replace(PLAN, parked=("bot-1",))
    lines = alerts(replace(found, bots=bots, fleet=by_hand))
    assert "on the way" not in "".join(line.text for line in lines)


def test_bots_that_wait_for_their_turn_to_log_on_are_counted() -> None:
    found = facts(S.CONNECTING, S.CONNECTING, S.AUTHENTICATING)
    bots = {
        name: replace(one, waits="pacing") if one.state is S.CONNECTING else one
        for name, one in found.bots.items()
    }
    (line,) = alerts(replace(found, bots=bots))
    assert line.text == (
        "No bot is ready yet; 3 are on the way, 2 of them wait for their turn to log on."
    )


def test_an_instant_is_in_a_text_exactly_if_it_is_known() -> None:
    for ip in (IpView("192.0.2.1", 450, 0, None), IpView("192.0.2.1", 450, 0, int(NOW))):
        line = alerts(facts(S.READY, ips={ip.ip: ip}))[0]
        assert ("{when}" in line.text) is (line.when is not None)
