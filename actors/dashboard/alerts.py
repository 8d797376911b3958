"""Alerts: what is wrong and what to do, for page, `/status`, terminal and log.

The most urgent alert comes first. While a shared cause lasts, no alert blames a bot or an account for its
consequences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, assert_never

from actors.accounts.admin import AccountState
from actors.bot.messages import BotReport
from actors.bot.shared_causes import CauseKind, SharedCause
from actors.bot.states import BotState
from actors.dashboard.snapshot import Alert, Severity, Snapshot
from actors.errors import redis_says

_COMING: Final = frozenset(
    {BotState.CONNECTING, BotState.AUTHENTICATING, BotState.LAUNCHING, BotState.BACKING_OFF}
)
NAMED: Final = 3  # accounts or bots that an alert names
NEEDS_PERSON: Final = "account-needs-person"
# Kinds of alerts that name accounts, and their texts without the names.
_NAMELESS: Final[Mapping[str, str]] = {
    NEEDS_PERSON: "There are accounts that need a person.",
    "unusable-here": "There are accounts that this instance cannot use.",
}
_SIGN_IN: Final = "Sign in, or show the admin token, to see which."
REDIS_REFUSES: Final = "redis-refuses"
_CHECK_REDIS: Final = "Check the Redis server at redis.url. The service recovers by itself."


def alerts(now: Snapshot) -> tuple[Alert, ...]:
    """Return the alerts, the most urgent first; at least one."""
    found = (
        *(cause_line(cause, len(now.bots)) for cause in now.causes),
        *_of_service(now),
        *_of_accounts(now),
        *_none_ready(now),
        *_spent_ips(now),
        *_refused(now),
        *_parked(now),
        *_recovering(now),
        *_restart(now),
    )
    order = list(reversed(Severity))
    return tuple(sorted(found, key=lambda line: order.index(line.level))) or (_all_well(now),)


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
            wait = f"{_many(affected, 'bot')} {_verb(affected, 'wait')}"
            text = f"Steam limits log-ons from {address} {until}; {wait}; do not restart."
            when, todo = cause.until or cause.since, None
        case CauseKind.SAME_REFUSAL:
            text = (
                f"Steam refuses all log-ons ({cause.reason}) since {{when}}; "
                f"{_many(affected, 'account')}; retried by itself."
            )
            todo = None
        case CauseKind.REDIS_UNREACHABLE:
            text = "Redis has not answered since {when}, so no new match can be asked for."
            todo = _CHECK_REDIS
            if said := redis_says(cause.reason):
                text = f"Redis refuses since {{when}}: {said}. No new match can be asked for."
                return Alert(Severity.OUTAGE, REDIS_REFUSES, text, todo, when)
        case other:
            assert_never(other)
    return Alert(Severity.OUTAGE, cause.kind, text, todo, when)


def _of_service(now: Snapshot) -> Iterator[Alert]:
    is_lost = any(cause.kind is CauseKind.REDIS_UNREACHABLE for cause in now.causes)
    if now.store is not None and not is_lost:
        yield Alert(
            Severity.ACT,
            REDIS_REFUSES,
            f"{now.store}, so that no budget can be counted and nothing new can be asked for.",
            _CHECK_REDIS,
        )
    if refused := now.config.get("refused"):
        yield Alert(
            Severity.ACT,
            "settings-refused",
            f"The settings as they are now are not in effect: {refused}",
            "Correct the file and save it.",
        )
    if now.fleet.drained:
        left = len(now.fleet.leaving)
        text = f"{left} of the bots still finish" if left else "Every account is free"
        text = f"The fleet is drained. {text}."
        yield Alert(Severity.ACT, "drained", text, "Resume it to serve matches again.")


def _of_accounts(now: Snapshot) -> Iterator[Alert]:
    # With a shared cause there are accounts: the last read of Redis is some seconds old.
    if now.knows_accounts and not now.accounts and now.store is None and not now.causes:
        text, todo = "There is no account yet.", "Add one, or import a file of them."
        yield Alert(Severity.ACT, "no-accounts", text, todo)
    if now.unusable:
        accounts, reason = _many(len(now.unusable), "account"), next(iter(now.unusable.values()))
        yield Alert(
            Severity.ACT,
            "unusable-here",
            f"This instance cannot use {accounts}: {reason}.",
            "Mend that here and restart; other instances may use them meanwhile.",
        )
    needy = [one for one in now.accounts.values() if one.needs_you]
    for one in needy[:NAMED]:
        yield Alert(
            Severity.ACT,
            NEEDS_PERSON,
            f"The account {one.account} needs {one.need}.",
            f"Open it on the page, or type: {one.command}",
            about=("account", one.account),
        )
    if len(needy) > NAMED:
        more = f"{len(needy) - NAMED} more accounts need you."
        yield Alert(Severity.ACT, NEEDS_PERSON, more, "`botapi status` lists them.")


def _none_ready(now: Snapshot) -> Iterator[Alert]:
    if not now.bots or _ready(now) or now.fleet.drained:
        return
    spent = [one for one in now.accounts.values() if one.left == 0]
    if now.accounts and len(spent) == len(now.accounts):
        frees_at = min((one.frees_at for one in spent if one.frees_at is not None), default=None)
        frees = "; the first frees at {when}" if frees_at else ""
        text = f"The budget of every account is spent{frees}."
        yield Alert(Severity.ACT, "budgets-spent", text, "Wait, or add accounts.", frees_at)
    elif now.causes:
        return  # the alert of the cause says why
    elif coming := _coming(now):
        text = f"No bot is ready yet; {len(coming)} {_are(len(coming))} on the way"
        yield Alert(Severity.WATCH, "none-ready", f"{text}{_waiting(coming)}.")
    elif now.accounts:
        yield Alert(
            Severity.ACT,
            "none-ready",
            "No bot is ready, and none finds a free account.",
            "The table of accounts says why; release, reset or add some.",
        )


def _spent_ips(now: Snapshot) -> Iterator[Alert]:
    spent: dict[str, float | None] = {
        one.ip: one.frees_at for one in now.ips.values() if one.left == 0
    }
    if now.router is not None:  # newer than the last read of Redis
        spent |= now.router.spent_addresses
    for ip, frees_at in spent.items():
        frees = "" if frees_at is None else "; it frees at {when}"
        yield Alert(
            Severity.OUTAGE,
            "address-spent",
            f"The budget of the address {ip} is spent{frees}.",
            "Wait, or let another instance serve from another address.",
            frees_at,
        )


def _refused(now: Snapshot) -> Iterator[Alert]:
    """Yield an alert if bots are ready but refused; a spent budget has an alert of its own."""
    router = now.router
    if _ready(now) and router is not None and router.refusal and router.budget != "spent":
        text = f"New matches are refused for now: {router.refusal}."
        yield Alert(Severity.WATCH, "matches-refused", text)


def _parked(now: Snapshot) -> Iterator[Alert]:
    if now.fleet.drained:
        return
    parked = [one for one in now.bots.values() if one.state is BotState.PARKED]
    by_hand = now.fleet.parked
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


def _recovering(now: Snapshot) -> Iterator[Alert]:
    ready = _ready(now)
    away = [one for one in now.bots.values() if one.state not in (BotState.READY, BotState.PARKED)]
    idle = [one for one in away if one.state is BotState.WAITING_FOR_ACCOUNT]
    if not ready or not away:
        return
    text = f"{ready} of {len(now.bots)} bots are ready"
    todo = None
    if not now.causes and len(idle) == len(away):
        text = f"{text}; the others find no free account"
        if all(one.state is not AccountState.FREE for one in now.accounts.values()):
            todo = "Add accounts, or have fewer bots."
    elif not now.causes:
        text = f"{text}; the others are on their way{_waiting(away)}"
    yield Alert(Severity.WATCH, "recovering", f"{text}.", todo)


def _restart(now: Snapshot) -> Iterator[Alert]:
    if waiting := now.config.get("needs_restart"):
        text = f"Edits that wait for a restart: {', '.join(waiting)}."
        yield Alert(Severity.WATCH, "restart-needed", text)


def _all_well(now: Snapshot) -> Alert:
    ready = _ready(now)
    if not ready:
        return Alert(Severity.WATCH, "starting", "The fleet is starting.")
    left = sum(one.left for one in now.accounts.values())
    budget = f", {left} requests left" if now.accounts else ""
    text = f"All is well: {ready} of {len(now.bots)} bots are ready{budget}."
    return Alert(Severity.WELL, "well", text)


def _ready(now: Snapshot) -> int:
    return sum(one.state is BotState.READY for one in now.bots.values())


def _coming(now: Snapshot) -> list[BotReport]:
    """Return the bots that begin a session, or will: also those parked by a shared cause."""
    return [
        one
        for one in now.bots.values()
        if one.state in _COMING
        or (
            one.state is BotState.PARKED
            and one.cause is not None
            and one.bot_id not in now.fleet.parked
        )
    ]


def _waiting(bots: list[BotReport]) -> str:
    """Return the text about the bots that wait for their log-on."""
    waiting = sum(one.waits is not None for one in bots)
    return f", {waiting} of them {_verb(waiting, 'wait')} for their turn to log on" * bool(waiting)


def _names(bot_ids: list[str]) -> str:
    more = len(bot_ids) - NAMED
    return ", ".join(bot_ids[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _mid(reason: str) -> str:
    """Return a reason for the middle of a sentence; names keep their capitals."""
    return reason[0].lower() + reason[1:] if reason.partition(" ")[0].istitle() else reason


def _many(number: int, noun: str) -> str:
    return f"{number} {noun if number == 1 else noun + 's'}"


def _verb(number: int, verb: str) -> str:
    return f"{verb}s" if number == 1 else verb
