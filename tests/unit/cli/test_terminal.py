"""Names, paths and answers are printed without control characters and markup."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from rich.console import Console, RenderableType
from rich.progress import Progress
from support.http_env import get, serving
from typer import Exit as TyperExit

from actors.accounts.admin import AccountRow, AccountState
from actors.http.auth.api_keys import ApiKey
from actors.http.auth.clients import Client
from supervisor.cli import accounts, keys
from supervisor.cli import match as match_command
from supervisor.cli import status as status_command
from supervisor.cli.fleet import in_words
from supervisor.cli.replay import Bar
from supervisor.cli.terminal import ExitCode, fail, json_line, say
from supervisor.config.model import Log
from supervisor.logs import setup as logs
from supervisor.logs.redaction import printable, printable_lines

# Window title, C1 control sequence, right-to-left override, backspace, markup.
EVIL = "[/red]\x1b]0;x\x07\x9b31m\u202e\b\x7f[bold]evil"
SEEN = "[/red]"

ROW = AccountRow(
    account=EVIL,
    state=AccountState.FREE,
    used=1,
    left=2,
    holder=EVIL,
    held_for_s=1.0,
    lease_left_s=None,
    cooldown_s=1.0,
    cooldown_reason=EVIL,
    last_logon_s=1.0,
    problem=EVIL,
)


def match() -> RenderableType:
    player = {"player_name": EVIL, "kills": EVIL, "player_slot": 1}
    facts = {"radiant_team_name": EVIL, "game_mode": EVIL, "match_outcome": EVIL}
    return match_command.table_of(
        {"id": EVIL, "replay_url": EVIL, "match": {**facts, "players": [player]}}
    )


def status() -> RenderableType:
    bot = {"bot_id": EVIL, "account": EVIL, "state": EVIL, "since": 1.0, "last_error": EVIL}
    alert = {"text": EVIL, "todo": EVIL, "severity": EVIL}
    counts = {"count": 1, EVIL: 1}
    whole = {"version": EVIL, "instance": EVIL, "bots": counts, "alerts": [alert], "fleet": [bot]}
    return status_command.layout(whole, 2.0)


def is_harmless(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize(
    "shown",
    [
        lambda: accounts.table_of([ROW]),
        lambda: keys._table((ApiKey(Client(EVIL), b""),)),
        match,
        status,
    ],
    ids=["accounts", "keys", "match", "status"],
)
def test_a_table_shows_texts_as_they_are_but_for_control_characters(
    shown: Callable[[], RenderableType],
) -> None:
    paper = io.StringIO()
    Console(file=paper, width=300).print(shown())
    assert is_harmless(paper.getvalue())
    assert SEEN in paper.getvalue()


def test_the_name_of_a_download_is_harmless() -> None:
    bar = Bar(EVIL)
    bar.coming(1, 2)
    progress: Progress = bar._progress
    assert is_harmless(progress.tasks[0].description)
    bar.waiting(1.0, EVIL)
    assert is_harmless(progress.tasks[0].description)


def test_what_a_command_says_is_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"{EVIL}\nsecond line")
    plan: dict[str, Any] = {"count": 1, "configured": 1, "drained": False, "leaving": []}
    say(in_words({**plan, "parked": [EVIL]}), err=True)
    error = fail(ExitCode.FAILED, EVIL)
    assert isinstance(error, TyperExit)
    out, err = capsys.readouterr()
    assert out.count("\n") == 2
    assert is_harmless(out + err)
    assert SEEN in out
    assert err.count(SEEN) == 2


def test_json_for_programs_says_the_same_without_control_characters() -> None:
    value = {"name": EVIL, "more": ["\u4e2d", "\U000e0001", 1.5, None]}
    assert json.loads(json_line(value)) == value
    assert json_line(value).isprintable()
    assert "\u4e2d" in json_line(value)


@pytest.mark.parametrize("text", ["", "plain", "\u4e2d\xfc", "a\x1b[31m", "\udcff", "\u2028\r"])
def test_lines_stay_lines(text: str) -> None:
    assert printable(text).isprintable()
    assert len(printable(text)) == len(text)
    assert printable_lines(f"{text}\n{text}") == f"{printable(text)}\n{printable(text)}"


def log_as(form: str) -> Log:
    return Log.model_validate({**Log().model_dump(), "format": form})


@pytest.mark.parametrize("form", ["console", "json"])
async def test_no_control_character_of_a_client_or_a_name_is_in_the_log(form: str) -> None:
    paper = io.StringIO()
    logs.configure(log_as(form), paper)
    try:
        async with serving() as edge:
            await edge.ask(get("/%1b]0;title%07%C2%9B31m%E2%80%AE%7f/[red]"))
            facts = next(one for one in edge.log if one["event"] == "request_answered")
        structlog.get_logger().info(**facts)
        if form == "console":
            structlog.get_logger().warning("a" + EVIL, account=EVIL, reason=f"two\n{EVIL}")
            logs.say(EVIL)
        logs.drain()
    finally:
        logs.close()
        structlog.reset_defaults()
    assert is_harmless(paper.getvalue())
    assert "title" in paper.getvalue()
