"""Messages to and about bots, and the operator's control of the fleet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from actors.accounts.logon_limiter import WaitReason
from actors.actor import Address, Ask
from actors.bot.eresults import LogonResult
from actors.bot.shared_causes import CauseKind
from actors.bot.states import BotState


@dataclass(frozen=True, slots=True)
class ServeMatch(Ask[bytes]):
    """Router -> bot: ask the GC now; the budget is already reserved.

    The answer is the body of CMsgGCMatchDetailsResponse. Fails with TimeoutError (the GC did not answer),
    GcUnavailable or SteamUnreachable.
    """

    match_id: int
    timeout_s: float
    request_id: str = ""  # for the log
    late_s: float = 0.0  # after the timeout, in which an answer is accepted, except at a stop


@dataclass(frozen=True, slots=True)
class ServeProfile(Ask[bytes]):
    """Players -> bot: ask the GC now; no budget is touched.

    The answer is the body of CMsgDOTAProfileCard. Fails as ServeMatch does.
    """

    account_id: int
    timeout_s: float
    request_id: str = ""  # for the log


@dataclass(frozen=True, slots=True)
class ServeAliases(Ask[bytes]):
    """Players -> bot: ask Steam now.

    The answer is the body of CMsgClientAMGetPersonaNameHistoryResponse. Fails as ServeMatch does.
    """

    steam_ids: tuple[int, ...]
    timeout_s: float
    request_id: str = ""  # for the log


@dataclass(frozen=True, slots=True)
class BudgetSpent:
    """Router -> bot: the store refused to reserve for the bot's account."""

    retry_after: float  # seconds until the account's first budget frees


@dataclass(frozen=True, slots=True)
class Relog:
    """Router -> bot: the session gives no answers; begin a new one."""

    reason: str
    # If set: only if another account is free; the present account then cools down for so many seconds.
    spare_rest_s: float | None = None


@dataclass(frozen=True, slots=True)
class CheckLease:
    """Router -> bot: the store does not know the bot's lease; renew it now and report the result."""


Serve = ServeMatch | ServeProfile | ServeAliases
RouterToBot = Serve | BudgetSpent | Relog | CheckLease


@dataclass(frozen=True, slots=True)
class ReadyBot:
    """What the router needs to use a ready bot; valid while the bot is ready."""

    bot_id: str
    account: str
    fencing_token: int
    ip: str | None  # the egress IP that is charged; None for none
    address: Address[RouterToBot]
    steam_id: int | None = None


@dataclass(frozen=True, slots=True)
class BotChanged:
    """Registry -> its subscribers: one change of a bot."""

    bot_id: str
    state: BotState
    account: str | None = None
    reason: str | None = None  # in words: the failure due to which the state was entered
    ready_bot: ReadyBot | None = None  # exactly when state is READY
    nothing_free: bool = False  # waiting: Redis was asked, and no account is free
    budget_frees_in: float | None = None  # waiting: seconds until some account's budget frees
    usable_in: float | None = None  # with nothing_free: seconds until the first cooldown ends
    goes_on_in: float | None = None  # seconds until its log-on or its next run; None: no wait
    waits: WaitReason | None = None  # what its log-on waits for
    result: LogonResult | None = None  # the meaning of Steam's answer, where that ended this run
    cause: CauseKind | None = None  # the shared cause that its failure is part of


@dataclass(frozen=True, slots=True)
class BotRemoved:
    """Registry -> its subscribers: this bot no longer exists."""

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
    next_try_at: float | None  # UTC seconds: of the next run, or of a log-on that waits
    up_since: float | None = None  # UTC seconds: ready with this account since; GC pauses count
    ip: str | None = None  # egress IP of its last session
    waits: WaitReason | None = None  # what its log-on waits for
    cause: CauseKind | None = None  # the shared cause of its last failure, until it is ready again
    last_error_at: float | None = None  # UTC seconds


LARGEST_FLEET: Final = 1000  # bots; as `bots.count` has it


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """The intended state of the fleet."""

    count: int  # intended number of bots
    configured: int  # the same by the settings; differs from `count` after FleetControl.scale
    drained: bool
    parked: tuple[str, ...]  # bots that an operator parked
    leaving: tuple[str, ...]  # bots with an operation under way


class FleetControl(Protocol):
    """Operations on the fleet; `supervisor/app/fleet.py` implements them.

    Each returns as soon as it is accepted. Bots finish their requests and log off in the background;
    their states show the progress.
    """

    def plan(self) -> FleetPlan:
        """Return the intended state."""

    async def scale(self, count: int) -> FleetPlan:
        """Run `count` bots, until `bots.count` changes in the settings."""

    async def drain(self) -> FleetPlan:
        """Let every bot finish, log off, release its account and stay stopped until `resume`."""

    async def resume(self) -> FleetPlan:
        """Start every bot again, except those that an operator parked."""

    def restart(self, bot_id: str) -> FleetPlan:
        """Restart a bot after its requests; clear its failures. Raises NoSuchBot, FleetIsDrained."""

    def park(self, bot_id: str) -> FleetPlan:
        """Let a bot finish, log off and stay stopped until `unpark`. Raises NoSuchBot."""

    def unpark(self, bot_id: str) -> FleetPlan:
        """Start a parked or backing-off bot now. Raises NoSuchBot, FleetIsDrained."""
