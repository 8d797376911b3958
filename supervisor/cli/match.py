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

from supervisor.cli.client import (
    TIMEOUT_S,
    ApiClient,
    KeyFile,
    Service,
    Timeout,
    Url,
    refusals,
    service_at,
)
from supervisor.cli.terminal import AsJson, ConfigFile, cell, say_json, show
from supervisor.logs.redaction import printable

PIPE_WIDTH: Final = 160
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
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(answer, match):
        if value:
            facts.add_row(Text(name, style="dim"), Text(printable(value), overflow="fold"))
    players = match.get("players", [])
    return Group(facts, Text(""), _players(players)) if players else Group(facts)


def _facts(answer: Mapping[str, Any], match: Mapping[str, Any]) -> list[tuple[str, str]]:
    sides = [match.get(f"{side}_team_name") or side.title() for side in ("radiant", "dire")]
    score = [match.get(f"{side}_team_score", 0) for side in ("radiant", "dire")]
    outcome = str(match.get("match_outcome", ""))
    return [
        ("match", str(answer.get("id"))),
        ("played", _when(match.get("starttime"))),
        ("mode", str(match.get("game_mode", "")).removeprefix("DOTA_GAMEMODE_")),
        ("length", _minutes(match.get("duration"))),
        ("teams", f"{sides[0]} {score[0]} : {score[1]} {sides[1]}"),
        ("outcome", _WINNERS.get(outcome, outcome)),
        ("replay", answer.get("replay_url") or "none"),
    ]


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


def _when(seconds: int | None) -> str:
    if not seconds:
        return ""
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%d %H:%M} UTC"


def _minutes(seconds: int | None) -> str:
    return "" if seconds is None else f"{seconds // 60}:{seconds % 60:02}"


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
        answer = asyncio.run(ask(service, match_id, timeout))
    if as_json:
        say_json(answer)
    else:
        show(table_of(answer), pipe_width=PIPE_WIDTH)


async def ask(service: Service, match_id: int, timeout_s: float) -> dict[str, Any]:
    """Return the answer of the service about a match; raises as `ApiClient.get`."""
    async with ApiClient(service, timeout_s=timeout_s) as api:
        answer: dict[str, Any] = await api.get("/match-details", match_id=match_id)
        return answer
