"""Child protocol, child specification and child status.

The values are frozen and check themselves, so that a wrong specification fails before any child starts.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from actors.clock import backoff_s


class InvalidSpec(ValueError):
    """A child specification, or a part of one, cannot work; the text names the values."""


def _not_negative(name: str, value: float) -> None:
    if not value >= 0:  # also refuses NaN
        raise InvalidSpec(f"{name} ({value:g}) must not be negative")


class Child(Protocol):
    """A component that runs under a supervisor. The factory builds a fresh object for each run."""

    async def start(self) -> None:
        """Acquire what `run` needs; the next child in the order starts after this.

        A start that fails or is cancelled releases everything: neither `run` nor `stop` follows.
        """

    async def run(self) -> None:
        """Serve until stopped. Follows every successful `start`, even one that was stopped meanwhile."""

    def stop(self) -> None:
        """Ask `run` to finish its work and return. Harmless at any time and when repeated."""


@runtime_checkable
class ServesLater(Protocol):
    """A child that is in service only some time after its start."""

    @property
    def in_service_since(self) -> float | None:
        """Clock seconds; None before that. For other children it is the end of `start`."""


class Restart(enum.StrEnum):
    """Which exits of a child lead to a restart (the words of OTP)."""

    PERMANENT = "permanent"  # all
    TRANSIENT = "transient"  # those by an exception
    TEMPORARY = "temporary"  # none


class GiveUp(enum.StrEnum):
    """What follows when a child fails more often than its intensity allows."""

    PARK = "park"  # restart at long intervals until a run is stable
    ESCALATE = "escalate"  # the supervisor itself fails, with all its children


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a restart, in seconds: up to base, 2 base, 4 base, ... cap.

    `stable_after`: a run that was in service this long starts the series again at `base`; a start alone
    does not reset it, even where this is 0.
    """

    base: float
    cap: float
    stable_after: float

    def __post_init__(self) -> None:
        if not 0 < self.base <= self.cap < math.inf:
            raise InvalidSpec(f"backoff needs 0 < base ({self.base:g}) <= cap ({self.cap:g})")
        _not_negative("stable_after", self.stable_after)

    def ceiling(self, attempt: int) -> float:
        """Return the longest wait in seconds before `attempt` (from 1)."""
        return backoff_s(attempt, base=self.base, cap=self.cap)

    def longest_total(self, restarts: int) -> float:
        """Return the longest sum in seconds of the waits before so many restarts in a row."""
        return sum(self.ceiling(attempt) for attempt in range(1, restarts + 1))


@dataclass(frozen=True, slots=True)
class RestartIntensity:
    """At most `max_restarts` within any `period` seconds; one more, and the supervisor gives up.

    Only restarts since the last stable run count (see Backoff).
    """

    max_restarts: int
    period: float

    def __post_init__(self) -> None:
        _not_negative("max_restarts", self.max_restarts)
        if not self.period > 0:
            raise InvalidSpec(f"period ({self.period:g}) must be more than 0 s")


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How to build, restart and stop one child. The defaults suit an essential part of a service.

    Attributes:
        id: its name, unique among its siblings.
        factory: builds a fresh child for each run.
        grace: seconds from `stop` until the run is cancelled. `math.inf` suits a nested supervisor,
            whose own children have a limit already.
        park_for: seconds between two runs of a parked child.
        expected: errors that are a normal exit, logged without a traceback.
    """

    id: str
    factory: Callable[[], Child]
    restart: Restart = Restart.PERMANENT
    intensity: RestartIntensity = RestartIntensity(max_restarts=5, period=60.0)
    backoff: Backoff = Backoff(base=0.1, cap=5.0, stable_after=30.0)
    grace: float = 5.0
    give_up: GiveUp = GiveUp.ESCALATE
    park_for: float = 300.0
    expected: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        if not self.id:
            raise InvalidSpec("a child needs an id")
        _not_negative("grace", self.grace)
        if not 0 < self.park_for < math.inf:
            raise InvalidSpec(f"park_for ({self.park_for:g}) must be more than 0 s, and finite")
        check_reachable(self.intensity, self.backoff)


def check_reachable(intensity: RestartIntensity, backoff: Backoff) -> None:
    """Refuse an intensity that the backoff makes unreachable: the supervisor would never give up.

    A child that fails at once fails for the last time after all `max_restarts` waits.

    Raises:
        InvalidSpec: those waits may take `period` seconds or more.
    """
    slowest = backoff.longest_total(intensity.max_restarts)
    if slowest >= intensity.period:
        raise InvalidSpec(
            f"period ({intensity.period:g} s) must be more than {slowest:g} s, the longest time that "
            f"max_restarts ({intensity.max_restarts}) can take with base ({backoff.base:g} s) "
            f"and cap ({backoff.cap:g} s)"
        )


class ChildState(enum.StrEnum):
    """The state of a child, as its supervisor sees it."""

    STARTING = "starting"
    RUNNING = "running"
    BACKING_OFF = "backing_off"
    PARKED = "parked"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ChildStatus:
    """One child at one moment.

    Attributes:
        since: when it entered `state`, in clock seconds.
        restarts: runs after the first.
        last_error: the error of the last run that failed, as text.
        last_error_at: when, in clock seconds.
        next_try_at: clock seconds; only while backing off or parked, and None for a child that stays
            parked until an operator unparks it.
    """

    id: str
    state: ChildState
    since: float
    restarts: int = 0
    last_error: str | None = None
    next_try_at: float | None = None
    last_error_at: float | None = None
