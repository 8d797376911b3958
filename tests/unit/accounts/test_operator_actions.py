"""Needs of accounts that only an operator can meet, and the command for each."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from actors.accounts.admin import AccountRow, AccountState
from actors.accounts.formats import NOT_STEAMS
from actors.bot.eresults import OPERATOR_ACTION, action_in, action_reason, command_for
from actors.dashboard.snapshot import account_view

LOGIN = {9, 63, 65, 66, 71, 85}
REMOVE = {17, 18, 19, 43, 51, 80, 114}
NEW_PASSWORD, NEW_SECRET = {5}, {88}
ROW = AccountRow("axe", AccountState.FREE, 0, 90, None, None, None, None, None, None)


def word(eresult: int) -> str:
    """Return the command that the result is expected to ask for."""
    expected = {"login": LOGIN, "remove": REMOVE, "add": NEW_PASSWORD}
    for name, results in expected.items():
        if eresult in results:
            return name
    return "add --with-shared-secret" if eresult in NEW_SECRET else "reset"


@pytest.mark.parametrize("eresult", OPERATOR_ACTION)
def test_each_need_has_its_command_also_after_the_way_through_redis(eresult: int) -> None:
    need = f"{OPERATOR_ACTION[eresult]} (result {eresult})"
    assert action_in(action_reason(need)) == need
    assert command_for("axe", need) == f"botapi accounts {word(eresult)} axe"


@pytest.mark.parametrize(
    ("need", "word"),
    [
        ("a Steam Guard code (e-mail at x***@example.org)", "login"),
        ("approve the log-on in the Steam app", "login"),
        ("follow the link in the e-mail from Steam", "login"),
        ("its password stored again: what is stored is no UTF-8 text", "add"),
        (
            "its shared secret stored again: what is stored is no UTF-8 text",
            "add --with-shared-secret",
        ),
        ("words of a later version", "reset"),
    ],
)
def test_a_need_in_other_words_has_one_too(need: str, word: str) -> None:
    assert command_for("axe", need) == f"botapi accounts {word} axe"


@pytest.mark.parametrize("name", ["a b", "$(id)", "it's", "-x", r"\xfc", ";rm"])
def test_a_shell_reads_an_odd_name_as_one_word(name: str) -> None:
    words = shlex.split(command_for(name, "a look"))
    assert words[:3] == ["botapi", "accounts", "reset"]
    assert words[3:] == (["--", name] if name.startswith("-") else [name])


@pytest.mark.parametrize(
    ("row", "command"),
    [
        (ROW, None),
        (replace(ROW, cooldown_s=9.0, cooldown_reason="the budget is spent"), None),
        (replace(ROW, cooldown_s=9.0, cooldown_reason="needs a Steam Guard code"), "login"),
        (replace(ROW, state=AccountState.NO_PASSWORD), "add"),
        (replace(ROW, state=AccountState.UNUSABLE, problem=NOT_STEAMS), "remove"),
        (replace(ROW, state=AccountState.UNUSABLE, problem="the same as another"), None),
    ],
)
def test_each_account_that_waits_for_an_operator_has_a_need(
    row: AccountRow, command: str | None
) -> None:
    view = account_view(row, 1_800_000_000.0, None)
    assert view.needs_you is (command is not None)
    assert view.command == (None if command is None else f"botapi accounts {command} axe")
    assert (view.need is None) is (command is None)
