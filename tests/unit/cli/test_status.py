"""The fleet on a terminal: order and size."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest
from rich.console import Console

from supervisor.cli.status import SEVERITIES, STATES, layout

NOW = 1_800_000_000.0


def bot(number: int, state: str = "ready", **more: Any) -> dict[str, Any]:
    facts = {
        "bot_id": f"bot-{number}",
        "state": state,
        "since": NOW - number,
        "account": f"account{number}",
        "restarts": 0,
        "last_error": None,
        "next_try_at": None,
    }
    return facts | more


def status(*bots: dict[str, Any], **more: Any) -> dict[str, Any]:
    counts: dict[str, int] = {}
    for one in bots:
        counts[one["state"]] = counts.get(one["state"], 0) + 1
    return {
        "version": "1.2.3",
        "instance": "host-1",
        "config": {"refused": None, "needs_restart": []},
        "bots": {"count": len(bots), **counts},
        "router": {"ready": 1, "in_flight": 2, "waiting": 3},
        "fleet": list(bots),
        **more,
    }


def drawn(shown: dict[str, Any], width: int = 80, lines: int | None = None) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    with console.capture() as caught:
        console.print(layout(shown, NOW, lines))
    return [line.rstrip() for line in caught.get().splitlines()]


def index(lines: list[str], text: str) -> int:
    return next(at for at, line in enumerate(lines) if text in line)


def alert(severity: str, text: str, **more: Any) -> dict[str, Any]:
    base = {"kind": "some-kind", "todo": None, "when": None, "about": None}
    return {"severity": severity, "text": text} | base | more


def test_the_alerts_of_the_service_come_first_and_in_its_order() -> None:
    alerts = [
        alert("outage", "Steam is away.", todo="Nothing to do."),
        alert("act", "The account mail needs a code.", todo="Open it."),
        alert("watch", "1 of 2 bots are ready."),
    ]
    lines = drawn(status(bot(1), bot(2, "needs_human"), alerts=alerts))
    assert lines[1:4] == [
        "Steam is away. Nothing to do.",
        "The account mail needs a code. Open it.",
        "1 of 2 bots are ready.",
    ]
    assert "2 in flight" in lines[5]
    assert index(lines, "bot-2") < index(lines, "bot-1")


def test_every_account_that_needs_a_person_is_listed_with_what_to_type() -> None:
    few = [alert("act", f"The account a{n} needs.", kind="account-needs-person") for n in range(3)]
    more = alert("act", "9 more accounts need you.", kind="account-needs-person")
    needs = [
        {"account": f"a{n}", "need": "a code", "command": f"botapi accounts login a{n}"}
        for n in range(12)
    ]
    alerts = [alert("outage", "Steam is away."), *few, more, alert("watch", "Later.")]
    lines = drawn(status(bot(1), alerts=alerts, needs=needs), 120)
    told = [f"The account a{n} needs a code. Type: botapi accounts login a{n}" for n in range(12)]
    assert lines[1:15] == ["Steam is away.", *told, "Later."]
    assert len(drawn(status(bot(1), alerts=alerts, needs=needs), 120, 24)) <= 24
    older = drawn(status(bot(1), alerts=alerts), 120)  # an answer without `needs`
    assert older[2:6] == [one["text"] for one in (*few, more)]


@pytest.mark.parametrize(
    ("bots", "words"),
    [
        ((bot(1), bot(2)), "All is well: 2 of 2 bots are ready."),
        ((bot(1, "parked"),), "Steam is away."),
        ((bot(1, "needs_human", last_error="a code"),), "Steam is away."),
    ],
)
def test_nothing_is_judged_here(bots: tuple[dict[str, Any], ...], words: str) -> None:
    """The text comes from the service, not from the states of the bots."""
    lines = drawn(status(*bots, alerts=[alert("outage", words)]))
    assert lines[1] == words
    assert lines[2].startswith("bots  ")


@pytest.mark.parametrize("more", [{}, {"alerts": []}])
def test_a_service_that_tells_no_alerts_is_shown_by_its_numbers(more: dict[str, Any]) -> None:
    lines = drawn(status(bot(1), bot(2, "connecting"), **more))
    assert lines[1] == "1 of 2 bots are ready"


def test_an_instant_is_shown_by_the_local_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        text = "Steam is away since {when}."
        today = drawn(status(bot(1), alerts=[alert("outage", text, when=NOW - 3600)]))
        earlier = drawn(status(bot(1), alerts=[alert("outage", text, when=NOW - 86_400)]))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert today[1] == "Steam is away since 16:00."
    assert earlier[1] == "Steam is away since Thu 17:00."


def test_the_first_alert_is_wrapped_where_the_width_is_known() -> None:
    words = "Steam has not been reachable since noon (296 of 296 bots: refused). Nothing to do."
    shown = status(bot(1), alerts=[alert("outage", words), alert("watch", words)])
    console = Console(file=io.StringIO(), width=40, force_terminal=False)
    with console.capture() as caught:
        console.print(layout(shown, NOW, 24, 40))
    lines = [line.rstrip() for line in caught.get().splitlines()]
    assert " ".join(lines[1:4]) == words
    assert lines[4].startswith("Steam has not been")
    assert max(map(len, lines)) <= 40


def test_bots_stand_by_how_much_they_want_a_look_then_by_number() -> None:
    bots = [bot(10), bot(9), bot(2, "connecting"), bot(3, "parked"), bot(4, "backing_off")]
    lines = drawn(status(*bots))
    order = [line.split()[0] for line in lines if line.startswith("bot-")]
    assert order == ["bot-3", "bot-4", "bot-2", "bot-9", "bot-10"]


def test_an_error_is_told_with_its_age_and_a_wait_with_the_state() -> None:
    bots = [
        bot(1, "connecting", waits="pacing", next_try_at=NOW + 12),
        bot(2, "backing_off", last_error="Steam refused", last_error_at=NOW - 120),
        bot(3, "backing_off", last_error="of an older service"),
        bot(4),
    ]
    lines = drawn(status(*bots), 120)
    waiting, failed, older, well = (lines[index(lines, f"bot-{n}")] for n in range(1, 5))
    assert "connecting (pacing)" in waiting
    assert waiting.endswith("12 s")
    assert failed.endswith("2 min ago: Steam refused")
    assert older.endswith("of an older service")
    assert well.endswith("0")


def test_names_and_errors_cannot_steer_the_terminal() -> None:
    shown = status(bot(1, account="a\x1b[2Jb", last_error="x\ry\a"))
    text = "\n".join(drawn(shown | {"alerts": [alert("act", "c\x1bd", todo="e\af")]}))
    assert not set("\x1b\r\a") & set(text)
    assert "a\N{REPLACEMENT CHARACTER}[2Jb" in text


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 24), (200, 60)])
@pytest.mark.parametrize("count", [1, 5, 12, 16, 17, 18, 19, 1000])
@pytest.mark.parametrize("alerts", [0, 1, 12])
def test_the_live_view_fits_and_counts_every_bot_and_alert(
    width: int, height: int, count: int, alerts: int
) -> None:
    long = "a very long error that says in many words what has happened to this bot, and why"
    bots = [bot(n, "backing_off", last_error=long) for n in range(1, count + 1)]
    told = [alert("act", f"alert {n}: {long}") for n in range(alerts)]
    lines = drawn(status(*bots, alerts=told), width, height)
    assert max(map(len, lines)) <= width
    assert len(lines) <= height
    rows = sum(line.startswith("bot-") for line in lines)
    shown = sum(line.startswith("alert ") for line in lines)
    more = {line.split()[-1]: int(line.split()[1]) for line in lines if line.startswith("and ")}
    assert rows + more.get("more", 0) == count
    assert shown + more.get("alerts", 0) == alerts
    assert "more" not in more or len(lines) == height  # all lines are used


def test_every_severity_has_a_colour() -> None:
    from actors.dashboard.snapshot import Severity  # noqa: PLC0415 - the view itself does not know it

    assert set(SEVERITIES) == {level.value for level in Severity}


def test_every_state_has_a_colour() -> None:
    from actors.bot.states import BotState  # noqa: PLC0415 - the view itself does not know it

    assert set(STATES) == {state.value for state in BotState}
