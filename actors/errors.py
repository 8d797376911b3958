"""Exception hierarchy of the service.

    ServiceError                base; never raised itself
    ├── AccountError            Redis, or what it holds for one account
    ├── SteamError              Steam, as one bot sees it
    ├── RequestError            the answer to one request of a client that is not data
    └── LocalProtocolError      misuse inside the process

Errors make their own texts; callers branch on types and fields, never on texts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

_NAMED: Final = 10  # accounts that a text names
# Meaning of the first word of an error reply (Redis's documentation of RESP, ACL, replication, ...).
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
    """Base of the errors that the service raises on purpose.

    Attributes:
        is_blameless: no failure, however often it happens; the child is restarted soon.
        is_external: the cause is outside the bot and its account; never counts towards parking.
        is_reported: the log already has a line about it or its cause; none at `info` is needed.
    """

    is_blameless: bool = False
    is_external: bool = False
    is_reported: bool = False


class AccountError(ServiceError):
    """Redis, or what it holds for one account."""


class StoreUnavailable(AccountError):
    """Redis did not answer, or answered that it cannot serve (`reason`: in its words). Retryable."""

    is_external = True

    def __init__(self, operation: str, reason: str | None = None) -> None:
        self.reason = reason
        super().__init__(
            f"{_refusal(reason)} ({operation}: {reason})"
            if reason
            else f"Redis is unavailable ({operation})"
        )


class StoreMisused(AccountError):
    """Redis refused a command, e.g. because a key holds another type. An operator has to act."""

    is_external = True

    def __init__(self, operation: str, answer: str) -> None:
        self.answer = answer
        super().__init__(f"{_refusal(answer)} ({operation}: {answer})")


def redis_says(reply: str) -> str | None:
    """Return the meaning of an error reply of Redis, without any part of it; None if unknown."""
    words = re.findall(r"[A-Z]{3,}", reply)
    return next((_REDIS_SAYS[word] for word in words if word in _REDIS_SAYS), None)


def store_trouble(error: ServiceError) -> str:
    """Return the trouble with Redis without names, addresses and replies: fit for any client."""
    match error:
        case StoreMisused(answer=reply) | StoreUnavailable(reason=str(reply)):
            return _refusal(reply)
        case _:
            return "Redis is unreachable"


def _refusal(reply: str) -> str:
    said = redis_says(reply)
    return f"Redis refuses: {said}" if said else "Redis refuses a command"


class NoAccountFree(AccountError):
    """No account can be checked out now; normal, not a crash.

    `usable_in`: seconds until the first budget or cooldown frees, None when unknown; `budget_frees_in`:
    the same for spent budgets alone.
    """

    def __init__(
        self, usable_in: float | None = None, budget_frees_in: float | None = None
    ) -> None:
        self.usable_in = usable_in
        self.budget_frees_in = budget_frees_in
        super().__init__("no account is free: all are checked out, spent or cooling down")


class LeaseLost(AccountError):
    """The lease on `account` is not valid any more; the account must not be used."""

    def __init__(self, account: str, fencing_token: int) -> None:
        super().__init__(f"the lease on {account} (fencing token {fencing_token}) is lost")


class SameSteamAccount(LeaseLost):
    """By its SteamID64 the account is in use under the name `other`, which keeps it."""

    is_blameless = True  # the next run takes another account

    def __init__(self, account: str, fencing_token: int, other: str) -> None:
        super().__init__(account, fencing_token)
        self.args = (f"{account} is the same Steam account as {other}, which is in use",)


class NoSuchAccount(AccountError):
    """No account of that name is stored."""

    def __init__(self, account: str) -> None:
        super().__init__(f"there is no account {account}")


class AccountInUse(AccountError):
    """The account is checked out, or `other`, another name of the same Steam account, is."""

    def __init__(self, account: str, other: str | None = None) -> None:
        super().__init__(f"account {account} is in use" + (f" as {other}" if other else ""))


class BadAccountName(AccountError):
    """Steam cannot have an account of that name."""

    def __init__(self, account: str, problem: str) -> None:
        super().__init__(f"account {account} cannot be used: {problem}")


class NoPassword(AccountError):
    """The account has no password in Redis."""

    def __init__(self, account: str) -> None:
        super().__init__(f"account {account} has no password in Redis")


class PasswordNeeded(AccountError):
    """Accounts are given with a shared secret (e.g. a maFile), but no password is given or stored."""

    def __init__(self, accounts: Sequence[str]) -> None:
        names = ", ".join(accounts[:_NAMED]) + (", ..." if len(accounts) > _NAMED else "")
        super().__init__(
            f"no password is known for {names}: add the account with its password first (botapi accounts "
            "add), or import a file with the passwords together with this one; nothing was stored"
        )


class CannotDecrypt(AccountError):
    """A stored secret is encrypted under a key that this process does not have. It stays unchanged."""

    def __init__(self, account: str, kind: str) -> None:
        super().__init__(
            f"the {kind} of account {account} is encrypted under another key; add that key to "
            "BOTAPI_SECRET_KEY"
        )


class BudgetIsSpent(ServiceError):
    """The daily budget of the bot's account is spent; the bot's next run takes another account."""

    is_blameless = True


class SteamError(ServiceError):
    """Steam, as one bot sees it. `retry_after`: seconds, if Steam demands more than a backoff."""

    retry_after: float | None = None


class SteamUnreachable(SteamError):
    """There is no usable CM or directory, or the connection broke. Retryable.

    `phase`: e.g. ``"connect"``, ``"logon"``, ``"session"``; `eresult`: Steam's number, if it gave one.
    """

    def __init__(self, phase: str, reason: str, eresult: int | None = None) -> None:
        self.phase = phase
        self.reason = reason
        self.eresult = eresult
        super().__init__(f"Steam is unreachable during {phase}: {reason}")


class LogOnRefused(SteamError):
    """Steam refused a log-on or an authentication step with an EResult, maybe an unknown one.

    `phase`: ``"credentials"`` (password flow), ``"logon"`` (ClientLogon) or ``"renewal"`` (of a token).
    """

    def __init__(self, phase: str, eresult: int) -> None:
        self.phase = phase
        self.eresult = eresult
        super().__init__(f"Steam refused the {phase} with result {eresult}")


class ClockUncertain(LogOnRefused):
    """Steam refused codes of the authenticator, and Steam's time is not known to this process."""

    def __init__(self, eresult: int) -> None:
        super().__init__("credentials", eresult)
        text = f"Steam refused two codes of the authenticator with result {eresult}, and this machine's "
        self.args = (f"{text}clock may be wrong: no answer of Steam has told the time so far",)


class NeedsHuman(SteamError):
    """An operator has to act, e.g. to type a Steam Guard code. `need`: the action, in words."""

    def __init__(self, account: str, need: str) -> None:
        self.need = need
        super().__init__(f"account {account} needs a person: {need}")


class GcUnavailable(SteamError):
    """The Dota 2 Game Coordinator did not welcome the bot, or the session with it ended."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the Game Coordinator is unavailable: {reason}")


class PlayingElsewhere(GcUnavailable):
    """Another session of the account plays, so the GC ignores this one."""

    def __init__(self) -> None:
        super().__init__("another session of the account is playing")


class RequestDropped(SteamError):
    """The GC dropped one request (RequestDropped, or an answer that cannot be read)."""

    def __init__(self) -> None:
        super().__init__("the Game Coordinator dropped the request")


class RequestError(ServiceError):
    """The answer to one request that is not data; `actors/http/errors.py` maps it to HTTP.

    `retry_after`: seconds after which another request makes sense, or None; `steam_id`, `ip`: the account
    that was used and its egress IP, or None.
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


class InvalidRequest(RequestError):
    """Another part of the request is invalid."""


class Unauthorized(RequestError):
    """The request has no API key, or an unknown one."""


class ForeignPage(RequestError):
    """A web page of another site made a browser send the request."""


class ForeignHost(RequestError):
    """The request was sent to a host name that is not the service's."""


class RateLimited(RequestError):
    """The client has exceeded its rate limit."""


class MatchNotFound(RequestError):
    """The GC says that there is no such match (result 2)."""


class MatchBlocked(RequestError):
    """The GC refuses to give out this match (result 15)."""


class Unusable(RequestError):
    """The GC's answers for this match are useless, e.g. about another match."""


class QuotaExhausted(RequestError):
    """Every account's budget is spent."""


class NotReady(RequestError):
    """No bot is ready."""


class Busy(RequestError):
    """The queue is full."""


class RequestStoreUnavailable(RequestError):
    """Redis is unavailable, so no budget can be reserved."""


class TimedOut(RequestError):
    """The GC did not answer within the deadline."""


class NoSuchBot(ServiceError):
    """No bot has that name, or the bot is being removed."""

    def __init__(self, bot_id: str) -> None:
        super().__init__(f"there is no bot {bot_id}")


class FleetIsDrained(ServiceError):
    """A bot cannot start while the fleet is drained."""

    def __init__(self) -> None:
        super().__init__("the fleet is drained: resume it first")


class LocalProtocolError(ServiceError):
    """Misuse inside the process, e.g. the asyncio/gevent border crossed outside the bridge."""


class IllegalTransition(LocalProtocolError):
    """A state machine met an event that its table does not have; the state is unchanged."""

    def __init__(self, state: object, event: object) -> None:
        super().__init__(f"no transition from {state} on {event}")


class MailboxFull(LocalProtocolError):
    """The actor's mailbox is full; the message was not delivered."""

    def __init__(self, actor: str, capacity: int) -> None:
        super().__init__(f"the mailbox of {actor} is full ({capacity} messages)")


class ActorStopped(LocalProtocolError):
    """The actor is not running, or stopped before it answered."""

    def __init__(self, actor: str) -> None:
        super().__init__(f"{actor} is not running")
