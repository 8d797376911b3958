"""`botapi match`: shows one match."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from supervisor.cli.client import TIMEOUT_S, KeyFile, Timeout, Url, get_json, refusals, service_at
from supervisor.cli.terminal import AsJson, ConfigFile, cell, say_json, show
from supervisor.logs.redaction import printable

_DIRE: Final = 128  # player_slot of the first dire player
_WINNERS: Final = {
    "k_EMatchOutcome_RadVictory": "Radiant won",
    "k_EMatchOutcome_DireVictory": "Dire won",
}
# Heading, field of the player.
_COLUMNS: Final = (
    ("hero", "hero_id"),
    ("level", "level"),
    ("K", "kills"),
    ("D", "deaths"),
    ("A", "assists"),
    ("last hits", "last_hits"),
    ("GPM", "gold_per_min"),
    ("XPM", "xp_per_min"),
    ("net worth", "net_worth"),
)


def table_of(answer: Mapping[str, Any]) -> Group:
    """Lay out an answer of `/match-details`; fields that the GC omits are omitted."""
    match = answer.get("match", {})
    sides = [match.get(f"{side}_team_name") or side.title() for side in ("radiant", "dire")]
    score = [match.get(f"{side}_team_score", 0) for side in ("radiant", "dire")]
    outcome = str(match.get("match_outcome", ""))
    start, length = match.get("starttime"), match.get("duration")
    facts = Table.grid(padding=(0, 2))
    for name, value in (
        ("match", str(answer.get("id"))),
        (
            "played",
            f"{dt.datetime.fromtimestamp(start, dt.UTC):%Y-%m-%d %H:%M} UTC" if start else "",
        ),
        ("mode", str(match.get("game_mode", "")).removeprefix("DOTA_GAMEMODE_")),
        ("length", "" if length is None else f"{length // 60}:{length % 60:02}"),
        ("teams", f"{sides[0]} {score[0]} : {score[1]} {sides[1]}"),
        ("outcome", _WINNERS.get(outcome, outcome)),
        ("replay", answer.get("replay_url") or "none"),
    ):
        if value:
            facts.add_row(Text(name, style="dim"), Text(printable(value), overflow="fold"))
    players = match.get("players", [])
    return Group(facts, Text(""), _players(players)) if players else Group(facts)


def _players(players: list[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("side")
    table.add_column("player", no_wrap=True, overflow="ellipsis", max_width=24)
    for heading, _ in _COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for player in players:
        table.add_row(
            "Radiant" if player.get("player_slot", 0) < _DIRE else "Dire",
            cell(player.get("player_name") or "anonymous"),
            *(cell(player.get(key, "")) for _, key in _COLUMNS),
        )
    return table


MatchId = Annotated[int, typer.Argument(metavar="ID", help="Match id.", show_default=False)]


def match(
    match_id: MatchId,
    *,
    url: Url = None,
    key_file: KeyFile = None,
    config: ConfigFile = None,
    timeout: Timeout = TIMEOUT_S,
    as_json: AsJson = False,
) -> None:
    """Show a match.

    Exit codes: 3 there is no such match, 4 try again later.
    """
    service = service_at(url, key_file, config)
    with refusals(as_json=as_json):
        answer = asyncio.run(
            get_json(service, "/match-details", timeout_s=timeout, match_id=match_id)
        )
    if as_json:
        say_json(answer)
    else:
        show(table_of(answer), pipe_width=160)
