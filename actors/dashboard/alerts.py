"""Alerts: what is wrong and what to do, for page, `/status`, terminal and log.

The most urgent alert comes first. While a shared cause lasts, no alert blames a bot or an account for its
consequences.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, assert_never

from actors.accounts.admin import AccountState
from actors.bot.messages import BotReport, FleetPlan
from actors.bot.shared_causes import CauseKind, SharedCause
from actors.bot.states import BotState
from actors.dashboard.views import AccountView, IpView
from actors.errors import redis_says
from actors.router.messages import RouterReport

_COMING: Final = frozenset(
    {BotState.CONNECTING, BotState.AUTHENTICATING, BotState.LAUNCHING, BotState.BACKING_OFF}
)
NAMED: Final = 3  # accounts or bots that an alert names
# Kinds of alerts that name accounts, and their texts without the names.
_NAMELESS: Final[Mapping[str, str]] = {
    "account-needs-person": "There are accounts that need a person.",
    "unusable-here": "There are accounts that this instance cannot use.",
}
_SIGN_IN: Final = "Sign in, or show the admin token, to see which."
REDIS_REFUSES: Final = "redis-refuses"


class Severity(enum.StrEnum):
    """How urgent an alert is."""

    WELL = "well"
    WATCH = "watch"  # temporary, or harmful only later
    ACT = "act"  # the operator has to do something
    OUTAGE = "outage"  # a cause that many bots share


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert.

    Attributes:
        level: how urgent.
        kind: a word for programs.
        text: for people; `{when}` stands for the local time of `when`.
        todo: what the operator can do, or None.
        when: UTC seconds.
        about: the name of the account, or the id of the bot.
    """

    level: Severity
    kind: str
    text: str
    todo: str | None = None
    when: float | None = None
    about: tuple[Literal["account", "bot"], str] | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """The state of the service that alerts are derived from."""

    bots: Mapping[str, BotReport]
    accounts: Mapping[str, AccountView]  # as far as known
    ips: Mapping[str, IpView]
    fleet: FleetPlan | None
    config: Mapping[str, Any]
    store: str | None  # why the accounts are not known
    router: RouterReport | None = None  # None: it did not answer
    causes: tuple[SharedCause, ...] = ()  # the shared causes that last
    unusable: Mapping[str, str] = field(default_factory=dict)  # here: the reasons, by account
    knows_accounts: bool = True  # the accounts were read once


def alerts(facts: Facts) -> tuple[Alert, ...]:
    """Return the alerts, the most urgent first; at least one."""
    found = [line for rule in _RULES for line in rule(facts)]
    order = list(reversed(Severity))
    return tuple(sorted(found, key=lambda line: order.index(line.level))) or (_all_well(facts),)


def without_names(shown: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the alerts of `/status`, without the names of accounts and without repetitions."""
    nameless = [
        {**one, "text": _NAMELESS[one["kind"]], "todo": _SIGN_IN, "about": None}
        if one["kind"] in _NAMELESS
        else one
        for one in shown
    ]
    return list({one["text"]: one for one in nameless}.values())


def cause_line(cause: SharedCause, bots: int) -> Alert:
    """Return the alert of a shared cause. `bots`: the size of the fleet."""
    affected = len(cause.bots)
    share = f"{affected} of {max(bots, affected)} bots"
    when = cause.since
    todo: str | None = "Nothing to do."
    match cause.kind:
        case CauseKind.STEAM_UNREACHABLE:
            text = f"Steam has not been reachable since {{when}} ({share}: {_mid(cause.reason)})."
        case CauseKind.GC_UNAVAILABLE:
            text = f"The Dota 2 Game Coordinator has not answered since {{when}} ({share})."
        case CauseKind.LOGONS_LIMITED:
            address = cause.address or "this address"
            until = "until {when}" if cause.until is not None else "since {when}"
            wait = f"{affected} {_bots(affected)} {_verb(affected, 'wait')}"
            text = f"Steam limits log-ons from {address} {until}; {wait}; do not restart."
            when, todo = cause.until or cause.since, None
        case CauseKind.SAME_REFUSAL:
            accounts = f"{affected} {'account' if affected == 1 else 'accounts'}"
            text = (
                f"Steam refuses all log-ons ({cause.reason}) since {{when}}; {accounts}; "
                "retried by itself."
            )
            todo = None
        case CauseKind.REDIS_UNREACHABLE:
            text = "Redis has not answered since {when}, so no new match can be asked for."
            todo = "Check the Redis server at redis.url. The service recovers by itself."
            if said := redis_says(cause.reason):
                text = f"Redis refuses since {{when}}: {said}. No new match can be asked for."
                return Alert(Severity.OUTAGE, REDIS_REFUSES, text, todo, when)
        case other:
            assert_never(other)
    return Alert(Severity.OUTAGE, cause.kind, text, todo, when)


def _causes(facts: Facts) -> Iterator[Alert]:
    for cause in facts.causes:
        yield cause_line(cause, len(facts.bots))


def _store(facts: Facts) -> Iterator[Alert]:
    if facts.store is not None and not _lasts(facts, CauseKind.REDIS_UNREACHABLE):
        yield Alert(
            Severity.ACT,
            REDIS_REFUSES,
            f"{facts.store}, so that no budget can be counted and nothing new can be asked for.",
            "Check the Redis server at redis.url. The service recovers by itself.",
        )


def _config(facts: Facts) -> Iterator[Alert]:
    if refused := facts.config.get("refused"):
        yield Alert(
            Severity.ACT,
            "settings-refused",
            f"The settings as they are now are not in effect: {refused}",
            "Correct the file and save it.",
        )


def _drained(facts: Facts) -> Iterator[Alert]:
    if facts.fleet is not None and facts.fleet.drained:
        left = len(facts.fleet.leaving)
        text = f"{left} of the bots still finish" if left else "Every account is free"
        yield Alert(
            Severity.ACT,
            "drained",
            f"The fleet is drained. {text}.",
            "Resume it to serve matches again.",
        )


def _needs(facts: Facts) -> Iterator[Alert]:
    kind = "account-needs-person"
    needy = [one for one in facts.accounts.values() if one.needs_you]
    for one in needy[:NAMED]:
        yield Alert(
            Severity.ACT,
            kind,
            f"The account {one.account} needs {one.need}.",
            f"Open it on the page, or type: {one.command}",
            about=("account", one.account),
        )
    if len(needy) > NAMED:
        more = f"{len(needy) - NAMED} more accounts need you."
        yield Alert(Severity.ACT, kind, more, "`botapi status` lists them.")


def _unusable(facts: Facts) -> Iterator[Alert]:
    if facts.unusable:
        number, reason = len(facts.unusable), next(iter(facts.unusable.values()))
        accounts = "1 account" if number == 1 else f"{number} accounts"
        yield Alert(
            Severity.ACT,
            "unusable-here",
            f"This instance cannot use {accounts}: {reason}.",
            "Mend that here and restart; other instances may use them meanwhile.",
        )


def _no_accounts(facts: Facts) -> Iterator[Alert]:
    # With a shared cause there are accounts: the last read of Redis is some seconds old.
    if facts.knows_accounts and not facts.accounts and facts.store is None and not facts.causes:
        yield Alert(
            Severity.ACT,
            "no-accounts",
            "There is no account yet.",
            "Add one, or import a file of them.",
        )


def _none_ready(facts: Facts) -> Iterator[Alert]:
    if not facts.bots or _ready(facts) or (facts.fleet is not None and facts.fleet.drained):
        return
    spent = [one for one in facts.accounts.values() if one.left == 0]
    if facts.accounts and len(spent) == len(facts.accounts):
        frees_at = min((one.frees_at for one in spent if one.frees_at is not None), default=None)
        text = "The budget of every account is spent" + (
            "; the first frees at {when}." if frees_at else "."
        )
        yield Alert(Severity.ACT, "budgets-spent", text, "Wait, or add accounts.", frees_at)
    elif facts.causes:
        return  # the alert of the cause says why
    elif coming := _coming(facts):
        text = f"No bot is ready yet; {len(coming)} {_are(len(coming))} on the way"
        yield Alert(Severity.WATCH, "none-ready", f"{text}{_waiting(coming)}.")
    elif facts.accounts:
        yield Alert(
            Severity.ACT,
            "none-ready",
            "No bot is ready, and none finds a free account.",
            "The table of accounts says why; release, reset or add some.",
        )


def _spent_ips(facts: Facts) -> Iterator[Alert]:
    spent: dict[str, float | None] = {
        one.ip: one.frees_at for one in facts.ips.values() if one.left == 0
    }
    if facts.router is not None:  # newer than the last read of Redis
        spent |= facts.router.spent_addresses
    for ip, frees_at in spent.items():
        frees = "" if frees_at is None else "; it frees at {when}"
        yield Alert(
            Severity.OUTAGE,
            "address-spent",
            f"The budget of the address {ip} is spent{frees}.",
            "Wait, or let another instance serve from another address.",
            frees_at,
        )


def _refused(facts: Facts) -> Iterator[Alert]:
    """Yield an alert if bots are ready but refused; a spent budget has an alert of its own."""
    router = facts.router
    if _ready(facts) and router is not None and router.refusal and router.budget != "spent":
        yield Alert(
            Severity.WATCH, "matches-refused", f"New matches are refused for now: {router.refusal}."
        )


def _parked(facts: Facts) -> Iterator[Alert]:
    parked = [one for one in facts.bots.values() if one.state is BotState.PARKED]
    by_hand = set(facts.fleet.parked) if facts.fleet is not None else set()
    if facts.fleet is not None and facts.fleet.drained:
        return
    failed = [one.bot_id for one in parked if one.bot_id not in by_hand and one.cause is None]
    if failed:
        yield Alert(
            Severity.ACT,
            "bots-parked",
            f"{_names(failed)} failed too often and {_are(len(failed))} parked.",
            "Look at the last error, then restart.",
            about=("bot", failed[0]),
        )
    if resting := [one.bot_id for one in parked if one.bot_id in by_hand]:
        text = f"{_names(resting)} {_are(len(resting))} parked by hand."
        yield Alert(Severity.WATCH, "bots-parked-by-hand", text)


def _recovering(facts: Facts) -> Iterator[Alert]:
    ready, kind = _ready(facts), "recovering"
    away = [
        one for one in facts.bots.values() if one.state not in (BotState.READY, BotState.PARKED)
    ]
    idle = [one for one in away if one.state is BotState.WAITING_FOR_ACCOUNT]
    if not ready or not away:
        return
    text = f"{ready} of {len(facts.bots)} bots are ready"
    if facts.causes:
        yield Alert(Severity.WATCH, kind, f"{text}.")
    elif len(idle) == len(away):
        free = [one for one in facts.accounts.values() if one.state is AccountState.FREE]
        todo = None if free else "Add accounts, or have fewer bots."
        yield Alert(Severity.WATCH, kind, f"{text}; the others find no free account.", todo)
    else:
        text = f"{text}; the others are on their way{_waiting(away)}."
        yield Alert(Severity.WATCH, kind, text)


def _restart(facts: Facts) -> Iterator[Alert]:
    if waiting := facts.config.get("needs_restart"):
        text = f"Edits that wait for a restart: {', '.join(waiting)}."
        yield Alert(Severity.WATCH, "restart-needed", text)


def _all_well(facts: Facts) -> Alert:
    ready = _ready(facts)
    if not ready:
        return Alert(Severity.WATCH, "starting", "The fleet is starting.")
    left = sum(one.left for one in facts.accounts.values())
    budget = f", {left} requests left" if facts.accounts else ""
    text = f"All is well: {ready} of {len(facts.bots)} bots are ready{budget}."
    return Alert(Severity.WELL, "well", text)


_RULES: Final[tuple[Callable[[Facts], Iterator[Alert]], ...]] = (
    _causes,
    _store,
    _config,
    _drained,
    _no_accounts,
    _unusable,
    _needs,
    _none_ready,
    _spent_ips,
    _refused,
    _parked,
    _recovering,
    _restart,
)


def _ready(facts: Facts) -> int:
    return sum(one.state is BotState.READY for one in facts.bots.values())


def _coming(facts: Facts) -> list[BotReport]:
    """Return the bots that begin a session, or will: also those parked by a shared cause."""
    by_hand = set(facts.fleet.parked) if facts.fleet is not None else set()
    return [
        one
        for one in facts.bots.values()
        if one.state in _COMING
        or (one.state is BotState.PARKED and one.cause is not None and one.bot_id not in by_hand)
    ]


def _waiting(bots: list[BotReport]) -> str:
    """Return the text about the bots that wait for their log-on."""
    waiting = sum(one.waits is not None for one in bots)
    return f", {waiting} of them {_verb(waiting, 'wait')} for their turn to log on" * bool(waiting)


def _lasts(facts: Facts, kind: CauseKind) -> bool:
    return any(cause.kind is kind for cause in facts.causes)


def _names(bot_ids: list[str]) -> str:
    more = len(bot_ids) - NAMED
    return ", ".join(bot_ids[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _mid(reason: str) -> str:
    """Return a reason for the middle of a sentence; names keep their capitals."""
    return reason[0].lower() + reason[1:] if reason.partition(" ")[0].istitle() else reason


def _bots(number: int) -> str:
    return "bot" if number == 1 else "bots"


def _verb(number: int, verb: str) -> str:
    return f"{verb}s" if number == 1 else verb
