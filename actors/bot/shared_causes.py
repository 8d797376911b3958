"""Causes that several bots share: Steam or the GC unreachable, log-ons limited, the same refusal.

Bots report failures and successes; `active` returns the shared causes. All instants are UTC seconds.
"""

from __future__ import annotations

import enum
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from actors.bot.eresults import LogonResult, classify
from actors.errors import GcUnavailable, LogOnRefused, PlayingElsewhere, SteamUnreachable

WINDOW_S: Final = 60.0  # refusals of several accounts within this time have one cause
QUIET_S: Final = 300.0  # without another refusal or limit for this long, a cause is over
EXCUSED_S: Final = 1800.0  # a longer refusal counts against each account again
SEVERAL: Final = 3  # bots that share a cause, in a small fleet
SHARE: Final = 0.1  # of the bots, in a large fleet

_AWAY: Final = frozenset({LogonResult.RETRY, LogonResult.OTHER_CM, LogonResult.TRY_LATER})
_LIMITED: Final = frozenset(
    {LogonResult.RATE_LIMITED, LogonResult.THROTTLED, LogonResult.IP_BANNED}
)
# Results that Steam also gives to good accounts during its own outages.
_DOUBTFUL: Final = frozenset(
    {LogonResult.UNUSABLE, LogonResult.OUR_BUG, LogonResult.UNKNOWN, LogonResult.WRONG_PASSWORD}
)
_ERRNO: Final = re.compile(r"\[Errno -?\d+\] ")


class CauseKind(enum.StrEnum):
    """Kind of a shared cause; the words of `/status`."""

    STEAM_UNREACHABLE = "steam-unreachable"
    GC_UNAVAILABLE = "gc-unavailable"
    LOGONS_LIMITED = "logons-limited"
    SAME_REFUSAL = "same-refusal"
    REDIS_UNREACHABLE = "redis-unreachable"  # noted by `RedisLog`, not here


# Never the fault of the bot or its account, even when only one bot fails.
NEVER_OWN: Final = frozenset({CauseKind.STEAM_UNREACHABLE, CauseKind.LOGONS_LIMITED})


@dataclass(frozen=True, slots=True)
class SharedCause:
    """A cause that several bots share.

    Attributes:
        since: UTC seconds of the first failure.
        reason: the most frequent reason.
        bots: ids of the affected bots.
        until: UTC seconds of the expected end; None when unknown.
        address: egress IP whose log-ons are limited; None for other kinds and when unknown.
    """

    kind: CauseKind
    since: float
    reason: str
    bots: frozenset[str]
    until: float | None = None
    address: str | None = None


@dataclass(slots=True)
class _Cause:
    """`bots`: the last reason of each; `tried`: the bots that failed to connect to Steam or the GC."""

    kind: CauseKind
    since: float
    bots: dict[str, str] = field(default_factory=dict)
    tried: set[str] = field(default_factory=set)
    accounts: dict[str, float] = field(default_factory=dict)  # UTC seconds of the last refusal
    last: float = 0.0
    is_active: bool = False
    until: float | None = None
    address: str | None = None

    def remove(self, bot_id: str) -> None:
        self.bots.pop(bot_id, None)
        self.tried.discard(bot_id)

    def shown(self) -> SharedCause:
        # The reasons of failed attempts say more than those of ended sessions.
        told = [self.bots[bot_id] for bot_id in self.tried or self.bots if bot_id in self.bots]
        reasons = Counter(told or self.bots.values()).most_common(1)
        reason = reasons[0][0] if reasons else ""
        bots = frozenset(self.bots)
        return SharedCause(self.kind, self.since, reason, bots, self.until, self.address)


_Key = tuple[CauseKind, int | str | None]  # with the EResult or the egress IP where there is one


class SharedCauses:
    """Tracks the causes of one process.

    Attributes:
        fleet_size: configured number of bots; it decides how many failures make a cause shared, unless
            fewer bots have an account.
        on_end: called with each active cause that a success ends.
        steam_back_at: when an outage of Steam has ended last; older attempts may still fail.
    """

    def __init__(self, fleet_size: int = 1) -> None:
        self.fleet_size = fleet_size
        self.on_end: Callable[[SharedCause], None] = lambda _: None
        self._with_account: set[str] = set()
        self._causes: dict[_Key, _Cause] = {}
        self._logged_on: dict[str, float] = {}  # account -> UTC seconds, of the last minute
        self.steam_back_at = -math.inf

    def began(self, bot_id: str) -> None:
        """Note that a bot has an account."""
        self._with_account.add(bot_id)

    def failed(
        self, bot_id: str, account: str, failure: BaseException, now: float
    ) -> CauseKind | None:
        """Note the failure of a run; return the active cause that it is part of, if any."""
        kind, eresult = kind_of(failure), getattr(failure, "eresult", None)
        if kind is None:
            self._remove_everywhere(bot_id)
            return None
        if kind is CauseKind.LOGONS_LIMITED:  # `limited` has its duration and address
            return kind
        key = (kind, eresult if kind is CauseKind.SAME_REFUSAL else None)
        cause = self._note(key, bot_id, _in_words(failure), now)
        if not (isinstance(failure, SteamUnreachable) and failure.phase == "session"):
            cause.tried.add(bot_id)
        if kind is CauseKind.SAME_REFUSAL:
            cause.accounts[account] = now
        self._update(cause, now)
        return kind if cause.is_active else None

    def limited(self, bot_id: str, address: str | None, until: float, now: float) -> None:
        """Note that a bot may not log on before `until` (UTC seconds), as Steam limits `address`."""
        key, reason = (CauseKind.LOGONS_LIMITED, address), "Steam limits log-ons from this address"
        cause = self._note(key, bot_id, reason, now)
        cause.until, cause.address, cause.is_active = until, address, True

    def gc_lost(self, bot_id: str, reason: str, now: float) -> None:
        """Note that a logged-on bot has lost its GC session."""
        cause = self._note((CauseKind.GC_UNAVAILABLE, None), bot_id, reason, now)
        cause.tried.add(bot_id)
        self._update(cause, now)

    def gc_ready(self, bot_id: str) -> None:
        """Note a GC welcome: the GC is available again."""
        self._remove_everywhere(bot_id)
        self._end(CauseKind.GC_UNAVAILABLE)

    def succeeded(self, bot_id: str, account: str, now: float) -> None:
        """Note a log-on: Steam is reachable and accepts accounts."""
        self._logged_on[account] = now
        steam = self._causes.get((CauseKind.STEAM_UNREACHABLE, None))
        if steam is not None and steam.is_active:
            self.steam_back_at = now
        ended = (CauseKind.STEAM_UNREACHABLE, CauseKind.LOGONS_LIMITED, CauseKind.SAME_REFUSAL)
        for cause in self._causes.values():
            if cause.kind in ended:
                cause.remove(bot_id)
                cause.accounts.pop(account, None)
        for kind in ended:
            self._end(kind)

    def forget(self, bot_id: str) -> None:
        """Remove a bot that has stopped or has no account."""
        self._with_account.discard(bot_id)
        self._remove_everywhere(bot_id)

    def refused_accounts(self, eresult: int, now: float) -> frozenset[str]:
        """Return the accounts that Steam refused with this EResult within the last minute."""
        cause = self._causes.get((CauseKind.SAME_REFUSAL, eresult))
        return frozenset() if cause is None else frozenset(_recent(cause.accounts, now))

    def refused_for(self, eresult: int, now: float) -> float:
        """Return for how many seconds Steam has refused accounts with this EResult."""
        cause = self._causes.get((CauseKind.SAME_REFUSAL, eresult))
        return 0.0 if cause is None else max(0.0, now - cause.since)

    def active(self, now: float) -> tuple[SharedCause, ...]:
        """Return the active causes, the oldest first."""
        self._prune(now)
        found = [cause.shown() for cause in self._causes.values() if cause.is_active and cause.bots]
        return tuple(sorted(found, key=lambda cause: cause.since))

    # -- internals -------------------------------------------------------------------------------

    def _note(self, key: _Key, bot_id: str, reason: str, now: float) -> _Cause:
        self._prune(now)
        for other, cause in self._causes.items():
            if other != key:
                cause.remove(bot_id)
        cause = self._causes.setdefault(key, _Cause(key[0], since=now))
        cause.bots[bot_id], cause.last = reason, now
        return cause

    def _update(self, cause: _Cause, now: float) -> None:
        if cause.kind is CauseKind.SAME_REFUSAL:
            refused = set(_recent(cause.accounts, now))
            others = set(_recent(self._logged_on, now)) - refused
            is_shared = len(refused) > max(1, len(others))
            cause.is_active = (cause.is_active or is_shared) and now - cause.since < EXCUSED_S
        elif not cause.is_active:
            several = several_of(min(self.fleet_size, len(self._with_account) or self.fleet_size))
            cause.is_active = len(cause.bots) >= several and len(cause.tried) >= min(2, several)

    def _end(self, kind: CauseKind) -> None:
        """End the causes of this kind; a refusal keeps its beginning, see `EXCUSED_S`."""
        for key, cause in list(self._causes.items()):
            if cause.kind is not kind:
                continue
            shown, was_active = cause.shown(), cause.is_active
            if kind is CauseKind.SAME_REFUSAL:
                cause.is_active = False
                cause.bots.clear()
            else:
                del self._causes[key]
            if was_active and shown.bots:
                self.on_end(shown)

    def _remove_everywhere(self, bot_id: str) -> None:
        for cause in self._causes.values():
            cause.remove(bot_id)

    def _prune(self, now: float) -> None:
        """Remove causes that are over without a success, and log-ons older than a minute."""
        self._logged_on = _recent(self._logged_on, now)
        for key, cause in list(self._causes.items()):
            is_kept = cause.bots or cause.kind is CauseKind.SAME_REFUSAL
            if cause.kind in (CauseKind.SAME_REFUSAL, CauseKind.LOGONS_LIMITED):
                is_kept = is_kept and now - max(cause.last, cause.until or 0.0) < QUIET_S
            if not is_kept:
                del self._causes[key]


def kind_of(failure: BaseException) -> CauseKind | None:
    """Return the kind of cause that a failure may be part of; None: it is the bot's or account's own."""
    if isinstance(failure, GcUnavailable):
        return None if isinstance(failure, PlayingElsewhere) else CauseKind.GC_UNAVAILABLE
    if not isinstance(failure, LogOnRefused | SteamUnreachable):
        return None
    if (result := classify(failure)) is None:
        is_ours = isinstance(failure, SteamUnreachable) and failure.phase == "hub"
        return None if is_ours else CauseKind.STEAM_UNREACHABLE
    if result in _AWAY:
        return CauseKind.STEAM_UNREACHABLE
    if result in _LIMITED:
        return CauseKind.LOGONS_LIMITED
    return CauseKind.SAME_REFUSAL if result in _DOUBTFUL else None


def several_of(fleet_size: int) -> int:
    """Return how many failed bots make a cause shared: both of two, a tenth of many."""
    return max(1, min(SEVERAL, fleet_size), math.ceil(SHARE * fleet_size))


def _recent(instants: dict[str, float], now: float) -> dict[str, float]:
    return {name: at for name, at in instants.items() if abs(now - at) < WINDOW_S}


def _in_words(failure: BaseException) -> str:
    """Return the reason without the details that differ from bot to bot."""
    if isinstance(failure, LogOnRefused):
        return f"result {failure.eresult} at the log-on"
    if not isinstance(failure, SteamUnreachable | GcUnavailable):
        return str(failure)
    reason = failure.reason
    if isinstance(failure, SteamUnreachable) and failure.phase == "connect":
        reason = reason.partition(": ")[2] or reason  # after the endpoint
    return _ERRNO.sub("", reason)
