"""The text that `botapi run` shows on a terminal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.accounts.admin import AccountRow, AccountState
from actors.errors import StoreUnavailable
from supervisor.app.run import first_steps

ROW = AccountRow("axe", AccountState.FREE, 0, 90, None, None, None, None, None, None)
NEEDY = replace(ROW, account="mail", cooldown_s=9.0, cooldown_reason="needs a Steam Guard code")


class Admin:
    def __init__(self, rows: list[AccountRow] | None) -> None:
        self._rows = rows

    async def overview(self) -> list[AccountRow]:
        if self._rows is None:
            raise StoreUnavailable("overview")
        return self._rows


async def told(rows: list[AccountRow] | None, host: str = "127.0.0.1") -> dict[str, str]:
    admin: Any = Admin(rows)
    text = await first_steps((host, 5000), Path("data/admin-token"), 5, admin)
    return dict(line.strip().split("  ", 1) for line in text.splitlines() if line)


@pytest.mark.parametrize(
    ("rows", "accounts", "command"),
    [
        ([], "none yet", "botapi accounts add NAME"),
        ([ROW], "1", "botapi status"),
        ([ROW, NEEDY], "2, 1 of them need a person", "botapi accounts login mail"),
    ],
)
async def test_it_says_what_there_is_and_what_to_type_next(
    rows: list[AccountRow], accounts: str, command: str
) -> None:
    found = {name: text.strip() for name, text in (await told(rows)).items()}
    assert found == {
        "page": "http://127.0.0.1:5000/",
        "admin token": "in data/admin-token",
        "accounts": accounts,
        "bots": "5",
        "next": command,
    }


async def test_without_redis_it_says_so() -> None:
    found = await told(None)
    assert "not known: Redis" in found["accounts"]
    assert found["next"].strip() == "botapi status"


@pytest.mark.parametrize(("host", "url"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]")])  # noqa: S104 - never bound
async def test_the_page_is_at_an_address_that_can_be_opened(host: str, url: str) -> None:
    assert (await told([], host))["page"].strip() == f"http://{url}:5000/"
