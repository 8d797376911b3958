"""The fleet on a terminal: what is first, and that it fits."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from supervisor.status_view import STATES, picture

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
        console.print(picture(shown, NOW, lines))
    return [line.rstrip() for line in caught.get().splitlines()]


def index(lines: list[str], text: str) -> int:
    return next(at for at, line in enumerate(lines) if text in line)


def test_a_fleet_that_is_well_says_so_first() -> None:
    lines = drawn(status(bot(1), bot(2)))
    assert lines[1] == "well: 2 of 2 bots are ready"
    assert "2 in flight" in lines[3]
    assert "need you" not in "".join(lines)


@pytest.mark.parametrize(
    ("bots", "words"),
    [
        ((bot(1), bot(2, "connecting")), "1 of 2 bots are ready"),
        ((bot(1, "parked"),), "no bot is ready (1 in all)"),
        ((), "no bot is ready (0 in all)"),
    ],
)
def test_a_fleet_that_is_not_well_says_how(bots: tuple[dict[str, Any], ...], words: str) -> None:
    assert words in drawn(status(*bots))[1]


def test_who_needs_a_person_comes_before_all_bots() -> None:
    lines = drawn(status(bot(1), bot(2, "needs_human", last_error="a Steam Guard code")))
    assert lines[index(lines, "1 needs you:") + 1] == "  account2 (2 s): a Steam Guard code"
    assert index(lines, "needs you") < index(lines, "bot    account")
    assert index(lines, "bot-2") < index(lines, "bot-1")


def test_bots_stand_by_how_much_they_want_a_look_then_by_number() -> None:
    bots = [bot(10), bot(9), bot(2, "connecting"), bot(3, "parked"), bot(4, "backing_off")]
    lines = drawn(status(*bots))
    order = [line.split()[0] for line in lines if line.startswith("bot-")]
    assert order == ["bot-3", "bot-4", "bot-2", "bot-9", "bot-10"]


def test_a_refused_file_and_what_waits_for_a_restart_are_told() -> None:
    config = {"refused": "config.toml: bots.count must be a number", "needs_restart": ["http.port"]}
    text = "\n".join(drawn(status(bot(1), config=config)))
    assert "the file was refused: config.toml: bots.count must be a number" in text
    assert "http.port" in text


def test_names_and_errors_cannot_steer_the_terminal() -> None:
    text = "\n".join(drawn(status(bot(1, account="a\x1b[2Jb", last_error="x\ry\a"))))
    assert not set("\x1b\r\a") & set(text)
    assert "a\N{REPLACEMENT CHARACTER}[2Jb" in text


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 24), (200, 60)])
@pytest.mark.parametrize("count", [1, 5, 12, 16, 17, 18, 19, 1000])
@pytest.mark.parametrize("wanting", [0, 1, 12])
def test_the_live_view_fits_and_forgets_nobody(
    width: int, height: int, count: int, wanting: int
) -> None:
    long = "a very long error that says in many words what has happened to this bot, and why"
    bots = [
        bot(n, "needs_human" if n <= wanting else "backing_off", last_error=long)
        for n in range(1, count + 1)
    ]
    lines = drawn(status(*bots), width, height)
    assert max(map(len, lines)) <= width
    assert len(lines) <= height
    named = sum(line.startswith("  account") for line in lines)
    rows = sum(line.startswith("bot-") for line in lines)
    more = next((int(line.split()[1]) for line in lines if line.startswith("and ")), 0)
    assert named + rows + more == count
    assert more == 0 or len(lines) == height  # no room is wasted


def test_every_state_has_a_colour() -> None:
    from actors.bot_states import BotState  # noqa: PLC0415 - the view itself does not know it

    assert set(STATES) == {state.value for state in BotState}
