"""Every message between actors, frozen.

Whatever is answered is an `Ask` of its answer's type; everything else is told. The reply slot lives
in the envelope, so messages can be compared, logged and replayed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from actors.accounts.pacing import WaitReason
from actors.actor import Address, Ask
from actors.bot_states import BotState
from actors.matches.answer import MatchAnswer
from actors.matches.freshness import Freshness
from actors.shared_causes import CauseKind
from actors.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class FetchMatch(Ask[MatchAnswer]):
    """HTTP -> router: one match's details; answered exactly once, by data or a RequestError."""

    match_id: int
    deadline: float  # clock seconds
    client: str = ""  # who asks, by the name of its API key; the waiting line is fair between them
    priority: int = 0  # higher ones are served first
    refresh: bool = False  # ask the GC even where the match is known
    request_id: str = ""  # for the log


@dataclass(frozen=True, slots=True)
class ServeMatch(Ask[bytes]):
    """Router -> bot: ask the GC now; the budget is already reserved.

    Answered with the body of CMsgGCMatchDetailsResponse, or fails with TimeoutError (silence),
    GcUnavailable or SteamUnreachable.
    """

    match_id: int
    timeout_s: float
    request_id: str = ""  # for the log
    late_s: float = (
        0.0  # for how much longer an answer is accepted; a leaving bot does not wait for it
    )


@dataclass(frozen=True, slots=True)
class FetchProfile(Ask[bytes]):
    """HTTP -> players: one player's profile card as JSON; answered by that or a RequestError."""

    account_id: int
    deadline: float  # clock seconds
    request_id: str = ""  # for the log


@dataclass(frozen=True, slots=True)
class FetchAliases(Ask[bytes]):
    """HTTP -> players: some players' former names as JSON; answered by that or a RequestError."""

    steam_ids: tuple[int, ...]
    deadline: float  # clock seconds
    request_id: str = ""  # for the log


@dataclass(frozen=True, slots=True)
class ServeProfile(Ask[bytes]):
    """Players -> bot: ask the GC now; no budget is touched.

    Answered with the body of CMsgDOTAProfileCard, or fails as ServeMatch does.
    """

    account_id: int
    timeout_s: float
    request_id: str = ""  # for the log


@dataclass(frozen=True, slots=True)
class ServeAliases(Ask[bytes]):
    """Players -> bot: ask Steam now.

    Answered with the body of CMsgClientAMGetPersonaNameHistoryResponse, or fails as ServeMatch does.
    """

    steam_ids: tuple[int, ...]
    timeout_s: float
    request_id: str = ""  # for the log


@dataclass(frozen=True, slots=True)
class BudgetSpent:
    """Router -> bot: the store refused to reserve for your account."""

    retry_after: float  # seconds until the account's first budget frees


@dataclass(frozen=True, slots=True)
class Relog:
    """Router -> bot: nothing is answered over your session; begin a new one."""

    reason: str
    # Where given: only if another account is free for it; the present one then cools down so long.
    spare_rest_s: float | None = None


@dataclass(frozen=True, slots=True)
class CheckLease:
    """Router -> bot: the store does not know your lease; renew it now, and say so when it holds."""


Serve = ServeMatch | ServeProfile | ServeAliases
RouterToBot = Serve | BudgetSpent | Relog | CheckLease


@dataclass(frozen=True, slots=True)
class Seat:
    """What the router needs to use a ready bot; gone as soon as the bot is not ready."""

    bot_id: str
    account: str
    fencing_token: int
    ip: str | None  # the egress IP that is charged; None for none
    address: Address[RouterToBot]
    steam_id: int | None = None


@dataclass(frozen=True, slots=True)
class BotChanged:
    """Bot -> everyone who watches the fleet: one change of state."""

    bot_id: str
    state: BotState
    account: str | None = None
    reason: str | None = None  # in words: the failure due to which the state was entered
    seat: Seat | None = None  # exactly when state is READY
    nothing_free: bool = False  # waiting: Redis was asked, and no account is to be had
    budget_frees_in: float | None = None  # waiting: seconds until some account's budget frees
    usable_in: float | None = None  # with nothing_free: seconds until some account rests no more
    goes_on_in: float | None = None  # seconds until it may log on; None where nothing holds it up
    waits: WaitReason | None = None  # what holds up its log-on
    verdict: Verdict | None = None  # on what Steam said, where that ended this life
    cause: CauseKind | None = None  # the shared cause that its failure is part of


@dataclass(frozen=True, slots=True)
class BotExpected:
    """Tree -> router: a bot between two lives (backing off, parked) begins the next one then."""

    bot_id: str
    in_s: float


@dataclass(frozen=True, slots=True)
class BotRemoved:
    """Tree -> everyone who watches the fleet: this bot does not exist any more."""

    bot_id: str


@dataclass(frozen=True, slots=True)
class BotReport:
    """One bot as `/status` shows it."""

    bot_id: str
    state: BotState
    since: float  # UTC seconds
    account: str | None
    restarts: int
    last_error: str | None  # until the bot has been ready for `restart.stable_after`
    next_try_at: float | None  # UTC seconds: of the next life, or of a log-on that waits
    up_since: float | None = (
        None  # UTC seconds; ready with this account since then, but for pauses of the GC
    )
    ip: str | None = None  # egress IP of its last session
    waits: WaitReason | None = None  # what holds up its log-on
    cause: CauseKind | None = None  # the shared cause of its last failure, until it is ready again
    last_error_at: float | None = None  # UTC seconds


@dataclass(frozen=True, slots=True)
class FleetReport:
    """The fleet as `/status` shows it."""

    bots: tuple[BotReport, ...]


@dataclass(frozen=True, slots=True)
class GetFleet(Ask[FleetReport]):
    """HTTP -> roster: how is the fleet."""


@dataclass(frozen=True, slots=True)
class RouterReport:
    """The router as `/status` shows it; what it says of new matches holds everywhere.

    Attributes:
        ready: bots that may be asked for a match, busy ones included.
        refusal: why no new match can be asked for now; None while one can.
        budget: "spent" when a spent budget alone is why.
        frees_at: UTC seconds, when the first of what is spent frees.
        spent_addresses: egress addresses whose budget is spent, and when each frees.
        retry_after: with `refusal`: seconds after which asking again makes sense; None while it is
            not known, e.g. where an operator has to act first.
    """

    ready: int
    in_flight: int
    waiting: int
    refusal: str | None = None
    budget: Literal["left", "spent"] = "left"
    frees_at: int | None = None
    spent_addresses: Mapping[str, int] = field(default_factory=dict)
    # It changes with every look, which is no reason to tell pages that watch.
    retry_after: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class GetRouter(Ask[RouterReport]):
    """HTTP -> router: how busy are you."""


@dataclass(frozen=True, slots=True)
class GetLoads(Ask[Mapping[str, int]]):
    """Tree -> router: how many requests has each ready bot in flight, by bot id."""


@dataclass(frozen=True, slots=True)
class GetAsked(Ask[Seat | None]):
    """HTTP -> router: who was asked last for a match that is still being fetched."""

    match_id: int


@dataclass(frozen=True, slots=True)
class Hurry:
    """Tree -> router: the service stops; do not wait for running tries any more."""


@dataclass(frozen=True, slots=True)
class RetireBot(Ask[None]):
    """Tree -> router: give this bot no more requests; answered when it has none in flight."""

    bot_id: str


@dataclass(frozen=True, slots=True)
class RouterPolicy:
    """The numbers the router lives by; times in seconds."""

    request_timeout_s: float  # one try at one bot
    max_in_flight: int  # per bot
    min_interval_s: float  # per bot, between two requests
    queue: int  # flights that may wait for a bot
    tries: int = 3  # bots that may stay silent on one match; each costs one of a daily budget
    breaks: int = 6  # bots that may be lost while they are asked
    freshness: Freshness = field(default_factory=Freshness)


@dataclass(frozen=True, slots=True)
class Reconfigure:
    """Tree -> router: live by these numbers from the next request on."""

    policy: RouterPolicy
    budgets_changed: bool = False  # then what was refused for a spent budget may be tried again


PlayersMessage = FetchProfile | FetchAliases | BotChanged | BotRemoved
RouterMessage = (
    FetchMatch
    | BotChanged
    | BotExpected
    | BotRemoved
    | GetRouter
    | GetLoads
    | GetAsked
    | RetireBot
    | Reconfigure
    | Hurry
)
