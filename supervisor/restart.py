"""Whether and when a child lives again: pure functions of the spec, the past and how it ended.

No clock, no chance, no task: the instant and the jitter draw are arguments. Counting restarts with a
function of list, now and period is OTP's way (supervisor.erl, `add_restart`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from supervisor.child import Backoff, ChildSpec, GiveUp, Restart, RestartIntensity


@dataclass(frozen=True, slots=True)
class Exit:
    """How one life ended.

    Attributes:
        error: None when `run` returned.
        served_s: seconds in service until the end of `run`; 0 if it never got there.
    """

    error: BaseException | None
    served_s: float


@dataclass(frozen=True, slots=True)
class Past:
    """What is remembered of a child's earlier lives.

    Attributes:
        attempt: ends since the last stable life, that one's included.
        recent: the instants of the ends within the period and since the last stable life, that one's
            included, ascending, at most max_restarts + 1; without those that had an external cause.
        parked: given up, and no stable life since.
    """

    attempt: int = 0
    recent: tuple[float, ...] = ()
    parked: bool = False

    def after(self, ended: Exit, spec: ChildSpec, now: float) -> Past:
        """Return the past with one more life in it, that `ended` at the instant `now`."""
        counted = () if is_external(ended.error) else (now,)
        if 0 < ended.served_s >= spec.backoff.stable_after:
            # All is forgiven: what serves well in between is worth more than it costs to bring back.
            return Past(attempt=1, recent=counted)
        return Past(
            attempt=self.attempt + 1,
            recent=within_period((*self.recent, *counted), spec.intensity, now),
            parked=self.parked,
        )


@dataclass(frozen=True, slots=True)
class RestartAfter:
    """Live again after `delay` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class ParkFor:
    """Given up for now: try one life after `delay` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class Escalate:
    """Given up, and the supervisor with it."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The child's end is its end."""


@dataclass(frozen=True, slots=True)
class Recalled:
    """The child was asked to end this life, not for ever; never decided here."""


Decision = RestartAfter | ParkFor | Escalate | Finished | Recalled


def decide(spec: ChildSpec, past: Past, ended: Exit, now: float, u: float) -> tuple[Past, Decision]:
    """Return the new past and what follows; `u` in [0, 1) is the jitter draw."""
    if not restarts_after(spec.restart, ended):
        return past, Finished()
    at_least = wanted_delay(ended.error)
    if is_blameless(ended.error):
        return past, RestartAfter(at_least + backoff_delay(1, spec.backoff, u))
    past = past.after(ended, spec, now)
    if not past.parked and len(past.recent) <= spec.intensity.max_restarts:
        # A sum, not a maximum: many children told to wait until the same instant must not come
        # back in step.
        return past, RestartAfter(at_least + backoff_delay(past.attempt, spec.backoff, u))
    if spec.give_up is GiveUp.ESCALATE:
        return past, Escalate()
    return replace(past, parked=True), ParkFor(max(at_least, spec.park_for))


def restarts_after(restart: Restart, ended: Exit) -> bool:
    """Return whether this end is followed by another life at all."""
    match restart:
        case Restart.PERMANENT:
            return True
        case Restart.TRANSIENT:
            return ended.error is not None
        case Restart.TEMPORARY:
            return False


def backoff_delay(attempt: int, backoff: Backoff, u: float) -> float:
    """Return u * min(cap, base * 2 ** (attempt - 1)) seconds: exponential with full jitter.

    The jitter comes last: before the cap it would die there, and all would return in step.
    """
    return u * backoff.ceiling(attempt)


def wanted_delay(error: BaseException | None) -> float:
    """Return the seconds that the error itself asks to wait (`retry_after`), else 0."""
    wanted = getattr(error, "retry_after", None)
    if isinstance(wanted, (int, float)) and 0 < wanted < math.inf:
        return float(wanted)
    return 0.0


def is_blameless(error: BaseException | None) -> bool:
    """Return whether the error says that it is no failure (`is_blameless`): what had to end has ended."""
    return getattr(error, "is_blameless", False) is True


def is_external(error: BaseException | None) -> bool:
    """Return whether the error says that its cause lies outside of the child (`is_external`).

    Such a failure backs off as any other, and does not count towards the intensity.
    """
    return getattr(error, "is_external", False) is True


def within_period(
    instants: tuple[float, ...], intensity: RestartIntensity, now: float
) -> tuple[float, ...]:
    """Return those of the ascending `instants` that count at `now`: the last max_restarts + 1."""
    counted = [instant for instant in instants if now - instant < intensity.period]
    return tuple(counted[-(intensity.max_restarts + 1) :])
