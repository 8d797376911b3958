"""The accounts on a terminal, for `botapi accounts list`."""

from __future__ import annotations

from rich.table import Table

from actors.accounts.admin import AccountRow
from supervisor.terminal import span


def table_of(rows: list[AccountRow]) -> Table:
    """Return one line per account."""
    table = Table(box=None, pad_edge=False)
    for head in ("account", "state", "used", "left", "holder", "since", "cooldown", "last log-on"):
        table.add_column(head, justify="right" if head in {"used", "left"} else "left")
    for row in rows:
        cooldown = f"{span(row.cooldown_s)}: {row.cooldown_reason or 'no reason given'}"
        rests = [cooldown] if row.cooldown_s else []
        table.add_row(
            row.account,
            row.state.value,
            str(row.used),
            str(row.left),
            row.holder or "",
            span(row.held_for_s),
            "; ".join([*rests, row.problem] if row.problem else rests),
            f"{span(row.last_logon_s)} ago" if row.last_logon_s is not None else "",
        )
    return table
