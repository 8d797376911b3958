"""The block that `botapi run` shows on a terminal: where everything is, and what to type next."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

from actors.accounts.admin import AccountAdmin, AccountRow
from actors.bot.eresults import command_for
from actors.dashboard.views import need_of_row
from actors.errors import AccountError
from supervisor.config.model import LOOPBACK

PATIENCE_S: Final = 3.0  # with Redis


async def first_steps(
    address: tuple[Any, ...], token_file: Path | None, bots: int, admin: AccountAdmin
) -> str:
    """Return the block.

    Args:
        address: that the service listens on, as a socket has it.
        token_file: where the admin token is; None where there is no admin API.
        bots: how many there shall be.
        admin: the operator's view of the accounts.
    """
    accounts: list[AccountRow] | None = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            accounts = await admin.overview()
    except (AccountError, TimeoutError) as error:
        state, command = f"not known: {str(error) or 'Redis does not answer'}", "botapi status"
    else:
        state, command = _state_of(accounts), _next_command(accounts)
    lines = {
        "page": _url(address),
        "admin token": "none: there is no admin API" if token_file is None else f"in {token_file}",
        "accounts": state,
        "bots": str(bots),
        "next": command,
    }
    width = max(map(len, lines)) + 2
    return "\n".join(("", *(f"  {name:<{width}}{text}" for name, text in lines.items()), ""))


def _url(address: tuple[Any, ...]) -> str:
    host, port = str(address[0]), address[1]
    host = LOOPBACK.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _state_of(accounts: list[AccountRow]) -> str:
    needy = sum(need_of_row(row) is not None for row in accounts)
    if not accounts:
        return "none yet"
    return f"{len(accounts)}, {needy} of them need a person" if needy else str(len(accounts))


def _next_command(accounts: list[AccountRow]) -> str:
    """Return what to type: add an account, give one what it needs, or look."""
    if not accounts:
        return "botapi accounts add NAME"
    needs = ((row.account, need_of_row(row)) for row in accounts)
    commands = (command_for(account, need) for account, need in needs if need is not None)
    return next(commands, "botapi status")
