"""Is all well, and if not, what is to be done: the one line on top of the page. Pure.

Every trouble that there is gets a line; the most urgent is the headline, the others follow it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from actors.accounts.admin import AccountState
from actors.bot_states import BotState
from actors.fleet_orders import FleetPlan
from actors.messages import BotReport
from actors.views import AccountView, IpView

_COMING: Final = frozenset(
    {BotState.CONNECTING, BotState.AUTHENTICATING, BotState.LAUNCHING, BotState.BACKING_OFF}
)
NAMED: Final = 3  # accounts or bots that a line names


class Level(enum.StrEnum):
    """How urgent a line is."""

    WELL = "well"
    WATCH = "watch"  # it is being seen to, or will do harm later
    ACT = "act"  # somebody has to do something


@dataclass(frozen=True, slots=True)
class Line:
    """One line. Where `text` has `{when}`, the instant `when` (UTC seconds) is meant, in local time."""

    level: Level
    text: str
    todo: str | None = None
    when: float | None = None
    about: tuple[str, str] | None = None  # ("account", name) or ("bot", id): where to look


@dataclass(frozen=True, slots=True)
class Facts:
    """What is judged."""

    at: float  # UTC seconds
    bots: Mapping[str, BotReport]
    accounts: Mapping[str, AccountView]
    ips: Mapping[str, IpView]
    fleet: FleetPlan | None
    config: Mapping[str, Any]
    store: str | None  # why Redis does not answer


def headlines(facts: Facts) -> tuple[Line, ...]:
    """Return the lines there are, the most urgent first; one at least."""
    found = [line for judge in _JUDGES for line in judge(facts)]
    order = list(reversed(Level))
    return tuple(sorted(found, key=lambda line: order.index(line.level))) or (_all_well(facts),)


def _store(facts: Facts) -> Iterator[Line]:
    if facts.store is not None:
        yield Line(
            Level.ACT,
            f"{facts.store}, so that no budget can be counted and nothing new can be asked for.",
            "Look after the server of redis.url; everything goes on by itself when it is back.",
        )


def _config(facts: Facts) -> Iterator[Line]:
    if refused := facts.config.get("refused"):
        yield Line(
            Level.ACT,
            f"The settings as they are now are not in effect: {refused}",
            "Correct the file and save it.",
        )


def _drained(facts: Facts) -> Iterator[Line]:
    if facts.fleet is not None and facts.fleet.drained:
        left = len(facts.fleet.leaving)
        text = f"{left} of the bots still finish" if left else "Every account is free"
        yield Line(Level.ACT, f"The fleet is drained. {text}.", "Resume it to serve matches again.")


def _needs(facts: Facts) -> Iterator[Line]:
    needy = [one for one in facts.accounts.values() if one.needs_you]
    for one in needy[:NAMED]:
        yield Line(
            Level.ACT,
            f"The account {one.account} {one.cooldown_reason}.",
            "Open it to enter a code, or to release or remove it.",
            about=("account", one.account),
        )
    if len(needy) > NAMED:
        yield Line(Level.ACT, f"{len(needy) - NAMED} more accounts need you.")


def _no_accounts(facts: Facts) -> Iterator[Line]:
    if not facts.accounts and facts.store is None:
        yield Line(Level.ACT, "There is no account yet.", "Add one, or import a file of them.")


def _nobody_ready(facts: Facts) -> Iterator[Line]:
    if not facts.bots or _ready(facts) or (facts.fleet is not None and facts.fleet.drained):
        return
    spent = [one for one in facts.accounts.values() if one.left == 0]
    if facts.accounts and len(spent) == len(facts.accounts):
        frees_at = min((one.frees_at for one in spent if one.frees_at is not None), default=None)
        text = "The budget of every account is spent" + (
            "; the first frees {when}." * bool(frees_at)
        )
        yield Line(Level.ACT, text, "Wait, or add accounts.", frees_at)
    elif coming := sum(one.state in _COMING for one in facts.bots.values()):
        yield Line(Level.WATCH, f"No bot is ready yet; {coming} {_are(coming)} on the way.")
    elif facts.accounts:
        yield Line(
            Level.ACT,
            "No bot is ready, and none finds a free account.",
            "The table of accounts says why; release, reset or add some.",
        )


def _spent_ips(facts: Facts) -> Iterator[Line]:
    for one in facts.ips.values():
        if one.left == 0:
            yield Line(
                Level.ACT,
                f"The budget of the address {one.ip} is spent; it frees {{when}}.",
                "Wait, or let another instance serve from another address.",
                one.frees_at,
            )


def _parked(facts: Facts) -> Iterator[Line]:
    parked = [one.bot_id for one in facts.bots.values() if one.state is BotState.PARKED]
    by_hand = set(facts.fleet.parked) if facts.fleet is not None else set()
    if facts.fleet is not None and facts.fleet.drained:
        return
    if failed := [bot_id for bot_id in parked if bot_id not in by_hand]:
        yield Line(
            Level.ACT,
            f"{_names(failed)} failed too often and {_are(len(failed))} parked.",
            "Look at the last error, then restart.",
            about=("bot", failed[0]),
        )
    if resting := [bot_id for bot_id in parked if bot_id in by_hand]:
        yield Line(Level.WATCH, f"{_names(resting)} {_are(len(resting))} parked by hand.")


def _recovering(facts: Facts) -> Iterator[Line]:
    ready = _ready(facts)
    away = [
        one for one in facts.bots.values() if one.state not in (BotState.READY, BotState.PARKED)
    ]
    idle = [one for one in away if one.state is BotState.WAITING_FOR_ACCOUNT]
    if not ready or not away:
        return
    if len(idle) == len(away):
        text = f"{ready} of {len(facts.bots)} bots are ready; the others find no free account."
        free = [one for one in facts.accounts.values() if one.state is AccountState.FREE]
        todo = None if free else "Add accounts, or have fewer bots."
        yield Line(Level.WATCH, text, todo)
    else:
        text = f"{ready} of {len(facts.bots)} bots are ready; the others are on their way."
        yield Line(Level.WATCH, text)


def _restart(facts: Facts) -> Iterator[Line]:
    if waiting := facts.config.get("needs_restart"):
        yield Line(Level.WATCH, f"Edits that wait for a restart: {', '.join(waiting)}.")


def _all_well(facts: Facts) -> Line:
    ready = _ready(facts)
    if not ready:
        return Line(Level.WATCH, "The fleet is starting.")
    left = sum(one.left for one in facts.accounts.values())
    budget = f", {left} requests left" if facts.accounts else ""
    return Line(Level.WELL, f"All is well: {ready} of {len(facts.bots)} bots are ready{budget}.")


_JUDGES: Final[tuple[Callable[[Facts], Iterator[Line]], ...]] = (
    _store,
    _config,
    _drained,
    _no_accounts,
    _needs,
    _nobody_ready,
    _spent_ips,
    _parked,
    _recovering,
    _restart,
)


def _ready(facts: Facts) -> int:
    return sum(one.state is BotState.READY for one in facts.bots.values())


def _names(bot_ids: list[str]) -> str:
    more = len(bot_ids) - NAMED
    return ", ".join(bot_ids[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
