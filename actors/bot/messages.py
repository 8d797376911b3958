"""Messages to and about bots.

Every order is answered as soon as it is understood; what takes time (requests under way are finished,
bots log off) goes on behind it and is seen in the bots' states.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from actors.accounts.logon_limiter import WaitReason
from actors.actor import Address, Ask
from actors.bot.eresults import LogonResult
from actors.bot.shared_causes import CauseKind
from actors.bot.states import BotState


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
class ReadyBot:
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
    seat: ReadyBot | None = None  # exactly when state is READY
    nothing_free: bool = False  # waiting: Redis was asked, and no account is to be had
    budget_frees_in: float | None = None  # waiting: seconds until some account's budget frees
    usable_in: float | None = None  # with nothing_free: seconds until some account rests no more
    goes_on_in: float | None = None  # seconds until it may log on; None where nothing holds it up
    waits: WaitReason | None = None  # what holds up its log-on
    result: LogonResult | None = None  # of Steam, where that ended the run
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


LARGEST_FLEET: Final = 1000  # bots; as `bots.count` has it


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """What the fleet is meant to be."""

    count: int  # bots that there shall be
    configured: int  # by the settings; another number than `count` after a ScaleFleet
    drained: bool  # by DrainFleet
    parked: tuple[str, ...]  # bots that a person parked
    leaving: tuple[str, ...]  # bots that still finish what they have under way


@dataclass(frozen=True, slots=True)
class GetFleetPlan(Ask[FleetPlan]):
    """How the fleet is meant to be now."""


@dataclass(frozen=True, slots=True)
class ScaleFleet(Ask[FleetPlan]):
    """Have so many bots, until the settings' own number is edited."""

    count: int


@dataclass(frozen=True, slots=True)
class DrainFleet(Ask[FleetPlan]):
    """Let every bot finish, log off and give its account back, and begin nothing until ResumeFleet."""


@dataclass(frozen=True, slots=True)
class ResumeFleet(Ask[FleetPlan]):
    """Start every bot again, except those that an operator parked."""


@dataclass(frozen=True, slots=True)
class RestartBot(Ask[FleetPlan]):
    """Restart a bot once its requests end, and clear its failures. Fails with NoSuchBot."""

    bot_id: str


@dataclass(frozen=True, slots=True)
class ParkBot(Ask[FleetPlan]):
    """Let a bot finish, log off and stay away until UnparkBot. Fails with NoSuchBot."""

    bot_id: str


@dataclass(frozen=True, slots=True)
class UnparkBot(Ask[FleetPlan]):
    """Let a parked bot work, or one that waits for its next try, now. Fails with NoSuchBot."""

    bot_id: str


FleetOrder = GetFleetPlan | ScaleFleet | DrainFleet | ResumeFleet | RestartBot | ParkBot | UnparkBot
