"""Every error the service raises on purpose, as one family tree.

    ServiceError                  ours; never raised itself
    ├── AccountError              Redis and what it holds for one account
    │   ├── NoAccountFree         nothing to check out right now (normal, not a crash)
    │   ├── LeaseLost             another holder may have the account: stop using it now
    │   │   └── SameSteamAccount  it is in use under another name: the lease has ended
    │   ├── NoSuchAccount         no account of that name is stored
    │   ├── AccountInUse          a holder has it checked out
    │   ├── BadAccountName        Steam cannot have an account of that name
    │   ├── NoPassword            the account has none in Redis
    │   ├── PasswordNeeded        it is to get a shared secret, but has no password
    │   ├── CannotDecrypt          a stored secret is sealed under a key that we do not have
    │   ├── StoreUnavailable      Redis does not answer, or cannot serve (retryable)
    │   └── StoreMisused          Redis refuses what we ask, e.g. a key holds another type
    ├── SteamError                Steam, seen by one bot
    │   ├── SteamUnreachable      no CM, no directory, or the connection broke (retryable)
    │   ├── LogOnRefused          Steam said no; `eresult` says why
    │   │   └── ClockUncertain    to codes made by a clock that may be wrong
    │   ├── NeedsHuman            only a person can go on (Steam Guard code)
    │   ├── GcUnavailable         the Game Coordinator does not welcome us (retryable)
    │   │   └── PlayingElsewhere  another session of the account plays
    │   └── RequestDropped        the Game Coordinator threw one request away
    ├── RequestError              one match request's answer that is not data
    │   ├── MatchIdRequired, InvalidMatchId, InvalidRequest, MatchNotFound, MatchBlocked
    │   ├── Unauthorized, ForeignPage, ForeignHost, RateLimited, Unusable
    │   └── QuotaExhausted, NotReady, Busy, RequestStoreUnavailable, TimedOut
    ├── FleetError                an operator's order that the fleet cannot carry out
    │   └── NoSuchBot, FleetIsDrained
    └── LocalProtocolError        our own misuse
        ├── IllegalTransition     a state machine was driven off its table
        ├── MailboxFull           backpressure: the caller decides what to do
        ├── ActorStopped          the actor does not run
        └── WrongThread           the asyncio/gevent border was crossed outside the bridge

Errors carry fields and build their own text; callers branch on type and fields, never on strings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

_NAMED: Final = 10  # accounts that a text names
# What the first word of an error reply of Redis means (Redis's documentation: RESP, ACL, replication,
# eviction, cluster specification).
_REDIS_SAYS: Final[Mapping[str, str]] = {
    "NOAUTH": "it wants a password",
    "WRONGPASS": "the user name or the password is wrong",
    "NOPERM": "its access rules (ACL) forbid a command",
    "OOM": "its memory is full",
    "WRONGTYPE": "a key holds another type",
    "READONLY": "it is a read-only replica",
    "MASTERDOWN": "it is a replica without its primary",
    "NOREPLICAS": "it has too few replicas",
    "LOADING": "it is loading its data",
    "MISCONF": "it cannot save to its disk",
    "BUSY": "a script keeps it busy",
    "CLUSTERDOWN": "its cluster is down",
    "UNBLOCKED": "its role has changed",
    **dict.fromkeys(("ASK", "CROSSSLOT", "MOVED", "TRYAGAIN"), "it is one node of a cluster"),
}


class ServiceError(Exception):
    """Base of all errors raised on purpose.

    Attributes:
        is_blameless: no failure at all, however often it happens; the next life begins soon.
        is_external: the cause lies outside of the bot and its account; never counts towards parking.
        is_reported: the log needs no line at `info` about it: it has one, or one about its cause.
    """

    is_blameless: bool = False
    is_external: bool = False
    is_reported: bool = False


class AccountError(ServiceError):
    """Redis, and what it holds for one account."""


class NoAccountFree(AccountError):
    """No account is free to check out.

    Attributes:
        usable_in: seconds until the first budget or cooldown frees, or None when unknown.
        budget_frees_in: the same for spent budgets alone.
    """

    def __init__(
        self, usable_in: float | None = None, budget_frees_in: float | None = None
    ) -> None:
        self.usable_in = usable_in
        self.budget_frees_in = budget_frees_in
        super().__init__("no account is free: all are checked out, spent or cooling down")


class LeaseLost(AccountError):
    """The lease on `account` is not ours any more; the account must not be used again."""

    def __init__(self, account: str, fencing_token: int) -> None:
        self.account = account
        self.fencing_token = fencing_token
        super().__init__(f"the lease on {account} (fencing token {fencing_token}) is lost")


class SameSteamAccount(LeaseLost):
    """By its SteamID64 the account is one that is in use under another name; that one keeps it.

    Attributes:
        other: the name that is in use.
    """

    is_blameless = True  # to a supervisor: the next life takes another account

    def __init__(self, account: str, fencing_token: int, other: str) -> None:
        super().__init__(account, fencing_token)
        self.other = other
        self.args = (f"{account} is the same Steam account as {other}, which is in use",)


def redis_says(reply: str) -> str | None:
    """Return what an error reply of Redis means, without anything that stands in it; None if unknown."""
    words = re.findall(r"[A-Z]{3,}", reply)
    return next((_REDIS_SAYS[word] for word in words if word in _REDIS_SAYS), None)


def store_trouble(error: ServiceError) -> str:
    """Return what is wrong with Redis in words that hold no name, address or reply, fit for strangers."""
    match error:
        case StoreMisused(answer=reply) | StoreUnavailable(reason=str(reply)):
            return _refusal(reply)
        case _:
            return "Redis is unreachable"


def _refusal(reply: str) -> str:
    said = redis_says(reply)
    return f"Redis refuses: {said}" if said else "Redis refuses a command"


class StoreUnavailable(AccountError):
    """Redis did not answer, or answered that it cannot serve.

    Attributes:
        operation: what it was asked to do.
        reason: in Redis's words why it cannot serve, e.g. a full memory; None without an answer.
    """

    is_external = True

    def __init__(self, operation: str, reason: str | None = None) -> None:
        self.operation = operation
        self.reason = reason
        super().__init__(
            f"{_refusal(reason)} ({operation}: {reason})"
            if reason
            else f"Redis is unavailable ({operation})"
        )


class StoreMisused(AccountError):
    """Redis understood and refused; a key of the wrong type, say. A person has to look."""

    is_external = True

    def __init__(self, operation: str, answer: str) -> None:
        self.operation = operation
        self.answer = answer
        super().__init__(f"{_refusal(answer)} ({operation}: {answer})")


class NoPassword(AccountError):
    """The account has no password in Redis."""

    def __init__(self, account: str) -> None:
        self.account = account
        super().__init__(f"account {account} has no password in Redis")


class PasswordNeeded(AccountError):
    """What is known of accounts, such as a maFile, is to be stored, but no password of theirs is."""

    def __init__(self, accounts: Sequence[str]) -> None:
        names = ", ".join(accounts[:_NAMED]) + (", ..." if len(accounts) > _NAMED else "")
        super().__init__(
            f"no password is known for {names}: add the account with its password first (botapi accounts "
            "add), or import a file with the passwords together with this one; nothing was stored"
        )


class NoSuchAccount(AccountError):
    """There is no account of that name."""

    def __init__(self, account: str) -> None:
        self.account = account
        super().__init__(f"there is no account {account}")


class AccountInUse(AccountError):
    """The account is checked out; `other`: under this other name of the same Steam account."""

    def __init__(self, account: str, other: str | None = None) -> None:
        self.account = account
        self.other = other
        super().__init__(f"account {account} is in use" + (f" as {other}" if other else ""))


class BadAccountName(AccountError):
    """Steam cannot have an account of that name."""

    def __init__(self, account: str, problem: str) -> None:
        self.account = account
        super().__init__(f"account {account} cannot be used: {problem}")


class CannotDecrypt(AccountError):
    """A stored secret is sealed, and none of our keys opens it. It stays as it is."""

    def __init__(self, account: str, kind: str) -> None:
        self.account = account
        self.kind = kind
        super().__init__(
            f"the {kind} of account {account} is sealed under another key; add that key to "
            "BOTAPI_SECRET_KEY"
        )


class BudgetIsSpent(ServiceError):
    """An account's daily budget is spent; its bot's next life takes another account."""

    is_blameless = True


class SteamError(ServiceError):
    """Steam, as one bot sees it.

    Attributes:
        retry_after: seconds to wait before the next log-on, where Steam wants more than a backoff.
    """

    retry_after: float | None = None


class SteamUnreachable(SteamError):
    """No usable CM or directory, or the connection broke.

    Attributes:
        phase: what was being done, e.g. ``"connect"``, ``"logon"``, ``"session"``.
        eresult: Steam's number where it gave one, else None.
    """

    def __init__(self, phase: str, reason: str, eresult: int | None = None) -> None:
        self.phase = phase
        self.reason = reason
        self.eresult = eresult
        super().__init__(f"Steam is unreachable during {phase}: {reason}")


class LogOnRefused(SteamError):
    """Steam refused a logon or an authentication step with an EResult.

    Attributes:
        phase: ``"credentials"`` (password flow), ``"logon"`` (ClientLogon) or ``"renewal"`` (of a token).
        eresult: the EResult number; may be one no library knows.
    """

    def __init__(self, phase: str, eresult: int, retry_after: float | None = None) -> None:
        self.phase = phase
        self.eresult = eresult
        self.retry_after = retry_after
        super().__init__(f"Steam refused the {phase} with result {eresult}")


class ClockUncertain(LogOnRefused):
    """Steam refused codes of the authenticator, and what time it is at Steam is not known here."""

    def __init__(self, eresult: int) -> None:
        super().__init__("credentials", eresult)
        text = (
            f"Steam refused two codes of the authenticator with result {eresult}, and this machine's "
            "clock may be wrong: no answer of Steam has told the time so far"
        )
        self.args = (text,)


class NeedsHuman(SteamError):
    """Only a person can go on, e.g. by typing a Steam Guard code.

    Attributes:
        need: what is needed, in words an operator understands.
    """

    def __init__(self, account: str, need: str) -> None:
        self.account = account
        self.need = need
        super().__init__(f"account {account} needs a person: {need}")


class GcUnavailable(SteamError):
    """The Dota 2 Game Coordinator did not welcome us, or the session with it ended."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the Game Coordinator is unavailable: {reason}")


class PlayingElsewhere(GcUnavailable):
    """Another session of the account plays, so that the GC does not hear this one."""

    def __init__(self) -> None:
        super().__init__("another session of the account is playing")


class RequestDropped(SteamError):
    """The GC said that it threw this request away (RequestDropped, or an answer that cannot be read)."""

    def __init__(self) -> None:
        super().__init__("the Game Coordinator dropped the request")


class RequestError(ServiceError):
    """A match request's answer that is not data; `actors/http/errors.py` maps it to HTTP.

    Attributes:
        retry_after: seconds after which asking again makes sense, or None.
        steam_id, ip: which account was asked, and from where; None where none was.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        self.steam_id: int | None = None
        self.ip: str | None = None
        super().__init__(message)


class MatchIdRequired(RequestError):
    """The request names no match."""


class InvalidMatchId(RequestError):
    """The match id is not an integer within 1 .. 1024000000000 (exclusive)."""


class Unauthorized(RequestError):
    """The client shows no API key, or none that is known."""


class ForeignPage(RequestError):
    """A web page of another site made a browser send the request."""


class ForeignHost(RequestError):
    """The request was sent to a name that is none of the service's."""


class RateLimited(RequestError):
    """This client asks more often than it may."""


class InvalidRequest(RequestError):
    """Some other part of the request cannot be understood."""


class MatchNotFound(RequestError):
    """The GC says there is no such match (result 2)."""


class MatchBlocked(RequestError):
    """The GC refuses to talk about this match (result 15)."""


class Unusable(RequestError):
    """The GC answers, but its answers for this match are of no use (another match, say)."""


class QuotaExhausted(RequestError):
    """Every account's budget is spent."""


class NotReady(RequestError):
    """No bot is ready."""


class Busy(RequestError):
    """The queue is full."""


class RequestStoreUnavailable(RequestError):
    """Redis is away, so no budget can be reserved."""


class TimedOut(RequestError):
    """The GC did not answer within the deadline."""


class FleetError(ServiceError):
    """An order to the fleet that cannot be carried out."""


class NoSuchBot(FleetError):
    """There is no bot of that name, or it is leaving for good."""

    def __init__(self, bot_id: str) -> None:
        self.bot_id = bot_id
        super().__init__(f"there is no bot {bot_id}")


class FleetIsDrained(FleetError):
    """No bot may begin to work before the fleet does."""

    def __init__(self) -> None:
        super().__init__("the fleet is drained: resume it first")


class LocalProtocolError(ServiceError):
    """Our own misuse of our own parts."""


class IllegalTransition(LocalProtocolError):
    """A state machine met an event that its table has no cell for; the state is unchanged."""

    def __init__(self, state: object, event: object) -> None:
        self.state = state
        self.event = event
        super().__init__(f"no transition from {state} on {event}")


class MailboxFull(LocalProtocolError):
    """The actor has more mail than it may hold; nothing was delivered."""

    def __init__(self, actor: str, capacity: int) -> None:
        self.actor = actor
        self.capacity = capacity
        super().__init__(f"the mailbox of {actor} is full ({capacity} messages)")


class ActorStopped(LocalProtocolError):
    """The actor is not running, or stopped before it answered."""

    def __init__(self, actor: str) -> None:
        self.actor = actor
        super().__init__(f"{actor} is not running")


class WrongThread(LocalProtocolError):
    """The asyncio/gevent border was crossed outside the bridge."""
