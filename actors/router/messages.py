"""Messages to the router and to the players actor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from actors.actor import Ask
from actors.bot.messages import BotChanged, BotRemoved, ReadyBot
from actors.matches.cache import Freshness
from actors.matches.match import MatchAnswer


@dataclass(frozen=True, slots=True)
class FetchMatch(Ask[MatchAnswer]):
    """HTTP -> router: fetch one match; answered exactly once, by data or a RequestError."""

    match_id: int
    deadline: float  # clock seconds
    client: str = ""  # the name of its API key; the queue is fair between clients
    priority: int = 0  # higher ones are served first
    refresh: bool = False  # ask the GC even where the match is known
    request_id: str = ""  # for the log


@dataclass(frozen=True, slots=True)
class FetchProfile(Ask[bytes]):
    """HTTP -> players: fetch one player's profile card as JSON; answered by that or a RequestError."""

    account_id: int
    deadline: float  # clock seconds
    request_id: str = ""  # for the log


@dataclass(frozen=True, slots=True)
class FetchAliases(Ask[bytes]):
    """HTTP -> players: fetch players' former names as JSON; answered by that or a RequestError."""

    steam_ids: tuple[int, ...]
    deadline: float  # clock seconds
    request_id: str = ""  # for the log


@dataclass(frozen=True, slots=True)
class RouterReport:
    """The router as `/status` shows it.

    Attributes:
        ready: bots that may be asked for a match, busy ones included.
        refusal: why no new match can be asked for now; None while one can.
        budget: "spent" when a spent budget is the only reason.
        frees_at: UTC seconds at which the first spent budget frees.
        spent_addresses: egress addresses whose budget is spent, and when each frees.
        retry_after: with `refusal`: seconds after which asking again makes sense; None while that is
            not known, e.g. where an operator has to act first.
    """

    ready: int
    in_flight: int
    waiting: int
    refusal: str | None = None
    budget: Literal["left", "spent"] = "left"
    frees_at: int | None = None
    spent_addresses: Mapping[str, int] = field(default_factory=dict)
    # Not compared: it changes all the time, which is no change to publish.
    retry_after: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class GetRouter(Ask[RouterReport]):
    """HTTP -> router: get the report."""


@dataclass(frozen=True, slots=True)
class GetLoads(Ask[Mapping[str, int]]):
    """Fleet -> router: get the requests in flight of each ready bot, by bot id."""


@dataclass(frozen=True, slots=True)
class GetAsked(Ask[ReadyBot | None]):
    """HTTP -> router: get the bot that was asked last for a match that is still being fetched."""

    match_id: int


@dataclass(frozen=True, slots=True)
class Hurry:
    """Composition root -> router: the service stops; end all fetches now."""


@dataclass(frozen=True, slots=True)
class RetireBot(Ask[None]):
    """Fleet -> router: give this bot no more requests; answered when it has none in flight."""

    bot_id: str


@dataclass(frozen=True, slots=True)
class RouterPolicy:
    """Limits and timeouts of the router; times in seconds."""

    request_timeout_s: float  # of one attempt
    max_in_flight: int  # per bot
    min_interval_s: float  # per bot, between two requests
    queue: int  # fetches that may wait for a bot
    attempts: int = 3  # bots that may stay silent on one match; each costs one of a daily budget
    breaks: int = 6  # bots that may be lost while they are asked
    freshness: Freshness = field(default_factory=Freshness)


@dataclass(frozen=True, slots=True)
class Reconfigure:
    """Configuration reload -> router: apply this policy from the next request on."""

    policy: RouterPolicy
    budgets_changed: bool = False  # then spent budgets are forgotten


FleetChange = BotChanged | BotRemoved
RouterQuery = GetRouter | GetLoads | GetAsked
PlayersMessage = FetchProfile | FetchAliases | FleetChange
RouterMessage = FetchMatch | FleetChange | RouterQuery | RetireBot | Reconfigure | Hurry
