"""Restart policy: whether and when a child runs again, as pure functions.

The instant and the jitter draw are arguments. Counting restarts in a sliding period follows OTP
(supervisor.erl, `add_restart`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from supervisor.child import Backoff, ChildSpec, GiveUp, Restart, RestartIntensity


@dataclass(frozen=True, slots=True)
class RunExit:
    """How one run ended.

    Attributes:
        error: None when `run` returned.
        served_s: seconds in service until the end of `run`; 0 if the child never was in service.
    """

    error: BaseException | None
    served_s: float


@dataclass(frozen=True, slots=True)
class History:
    """What the policy remembers of a child's earlier runs.

    Attributes:
        attempt: exits since the last stable run, including that run's.
        recent: the instants of the exits within the period and since the last stable run, including that
            run's, ascending, at most max_restarts + 1; without those that had an external cause.
        parked: given up, and no stable run since.
    """

    attempt: int = 0
    recent: tuple[float, ...] = ()
    parked: bool = False

    def after(self, ended: RunExit, spec: ChildSpec, now: float) -> History:
        """Return the history with the run that `ended` at the instant `now` added."""
        # A cause outside of the child backs off as any other, but does not count to the intensity.
        counted = () if getattr(ended.error, "is_external", False) is True else (now,)
        if 0 < ended.served_s >= spec.backoff.stable_after:
            return History(attempt=1, recent=counted)  # a stable run clears all failures before it
        return History(
            attempt=self.attempt + 1,
            recent=within_period((*self.recent, *counted), spec.intensity, now),
            parked=self.parked,
        )


@dataclass(frozen=True, slots=True)
class RestartAfter:
    """Run again after `delay` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class ParkFor:
    """Given up for now: run again after `delay` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class Escalate:
    """Given up: the supervisor fails, too."""


@dataclass(frozen=True, slots=True)
class Finished:
    """No run follows."""


@dataclass(frozen=True, slots=True)
class Recalled:
    """The supervisor ended this run on request, and another may follow; `decide` never returns this."""


Decision = RestartAfter | ParkFor | Escalate | Finished | Recalled


def decide(
    spec: ChildSpec, history: History, ended: RunExit, now: float, u: float
) -> tuple[History, Decision]:
    """Return the new history and what follows; `u` in [0, 1) is the jitter draw."""
    is_failure = ended.error is not None
    if spec.restart is Restart.TEMPORARY or (spec.restart is Restart.TRANSIENT and not is_failure):
        return history, Finished()
    at_least = wanted_delay(ended.error)
    if getattr(ended.error, "is_blameless", False) is True:  # it declares a normal end
        return history, RestartAfter(at_least + backoff_delay(1, spec.backoff, u))
    history = history.after(ended, spec, now)
    if not history.parked and len(history.recent) <= spec.intensity.max_restarts:
        # A sum, not a maximum: children that must wait until the same instant must not return in step.
        return history, RestartAfter(at_least + backoff_delay(history.attempt, spec.backoff, u))
    if spec.give_up is GiveUp.ESCALATE:
        return history, Escalate()
    return replace(history, parked=True), ParkFor(max(at_least, spec.park_for))


def backoff_delay(attempt: int, backoff: Backoff, u: float) -> float:
    """Return u * min(cap, base * 2 ** (attempt - 1)) seconds: exponential with full jitter.

    The jitter applies after the cap; before it, all children at the cap would return in step.
    """
    return u * backoff.ceiling(attempt)


def wanted_delay(error: BaseException | None) -> float:
    """Return the seconds that the error itself asks to wait (`retry_after`), else 0."""
    wanted = getattr(error, "retry_after", None)
    if isinstance(wanted, (int, float)) and 0 < wanted < math.inf:
        return float(wanted)
    return 0.0


def within_period(
    instants: tuple[float, ...], intensity: RestartIntensity, now: float
) -> tuple[float, ...]:
    """Return those of the ascending `instants` that count at `now`: the last max_restarts + 1."""
    counted = [instant for instant in instants if now - instant < intensity.period]
    return tuple(counted[-(intensity.max_restarts + 1) :])
