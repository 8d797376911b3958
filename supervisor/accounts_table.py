"""The accounts on a terminal, for `botapi accounts list`."""

from __future__ import annotations

from rich.table import Table

from actors.accounts.admin import AccountRow
from supervisor.terminal import cell, span


def table_of(rows: list[AccountRow]) -> Table:
    """Return one line per account."""
    table = Table(box=None, pad_edge=False)
    for head in ("account", "state", "used", "left", "holder", "since", "cooldown", "last log-on"):
        table.add_column(head, justify="right" if head in {"used", "left"} else "left")
    for row in rows:
        why = row.cooldown_reason or "no reason given"
        rests = [f"{span(row.cooldown_s)}: {why}"] if row.cooldown_s else []
        if row.cooldown_s is None and row.cooldown_reason:  # for as long as no person acts
            rests = [row.cooldown_reason]
        cells = (
            row.account,
            row.state.value,
            row.used,
            row.left,
            row.holder or "",
            span(row.held_for_s),
            "; ".join([*rests, row.problem] if row.problem else rests),
            f"{span(row.last_logon_s)} ago" if row.last_logon_s is not None else "",
        )
        table.add_row(*map(cell, cells))
    return table
