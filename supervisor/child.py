"""What a supervisor is told of a child, and what it tells of one: frozen values, no behaviour.

A recipe that cannot work cannot be built: each value checks itself and names what is wrong, so that
a mistake is found before anything has started.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

LARGEST_POWER: Final = 1023  # 2.0 ** 1024 does not fit a float


class InvalidSpec(ValueError):
    """A child spec, or a part of one, that cannot work; the text names the values."""


class Child(Protocol):
    """Something that lives under a supervisor. Each life is a fresh object from the factory."""

    async def start(self) -> None:
        """Get ready; the next child in the order starts after this.

        A start that fails or is cancelled leaves nothing behind: neither `run` nor `stop` follows.
        """

    async def run(self) -> None:
        """Serve until stopped. Follows every `start` that succeeded, even one stopped meanwhile."""

    def stop(self) -> None:
        """Ask `run` to finish its work and return. Harmless at any time and when repeated."""


@runtime_checkable
class ServesLater(Protocol):
    """A child that is in service only some time after its start."""

    @property
    def in_service_since(self) -> float | None:
        """Clock seconds; None until then. Of other children it is the end of `start`."""


class Restart(enum.StrEnum):
    """Which ends of a child are followed by another life (the words of OTP)."""

    PERMANENT = "permanent"  # every one
    TRANSIENT = "transient"  # those by an exception
    TEMPORARY = "temporary"  # none


class GiveUp(enum.StrEnum):
    """What follows when a child fails more often than its intensity allows."""

    PARK = "park"  # try again slowly, one life at a time, until one is stable
    ESCALATE = "escalate"  # the supervisor itself fails, with all its children


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a restart, in seconds: up to base, 2 base, 4 base, ... cap.

    `stable_after`: after a life that served this long the series starts again at `base`; a start alone
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
        """Return min(cap, base * 2 ** (attempt - 1)), the longest wait before `attempt` (from 1)."""
        return min(self.cap, self.base * 2.0 ** min(attempt - 1, LARGEST_POWER))


@dataclass(frozen=True, slots=True)
class RestartIntensity:
    """At most `max_restarts` within any `period` seconds; one more, and the supervisor gives up.

    Only such count as followed the last stable life (see Backoff).
    """

    max_restarts: int
    period: float

    def __post_init__(self) -> None:
        _not_negative("max_restarts", self.max_restarts)
        if not self.period > 0:
            raise InvalidSpec(f"period ({self.period:g}) must be more than 0 s")


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """The recipe for one child.

    Attributes:
        id: names it among its siblings.
        factory: builds a fresh child for each life.
        grace: seconds to finish in after `stop`, before it is cancelled. `math.inf` suits a nested
            supervisor, whose own children are bounded already.
        park_for: seconds between two tries of a parked child.
        expected: errors that are a normal end of life, logged without a traceback.
    """

    id: str
    factory: Callable[[], Child]
    restart: Restart
    intensity: RestartIntensity
    backoff: Backoff
    grace: float
    give_up: GiveUp
    park_for: float
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
    slowest = sum(backoff.ceiling(attempt) for attempt in range(1, intensity.max_restarts + 1))
    if slowest >= intensity.period:
        raise InvalidSpec(
            f"period ({intensity.period:g} s) must be more than {slowest:g} s: so long may "
            f"max_restarts ({intensity.max_restarts}) take by base ({backoff.base:g} s) "
            f"and cap ({backoff.cap:g} s)"
        )


def _not_negative(name: str, value: float) -> None:
    if not value >= 0:  # also refuses NaN
        raise InvalidSpec(f"{name} ({value:g}) must not be negative")


class ChildState(enum.StrEnum):
    """Where a child is, as its supervisor sees it."""

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
        restarts: lives after the first.
        last_error: how the last life that failed ended, in words.
        last_error_at: when, in clock seconds.
        next_try_at: clock seconds; only while backing off or parked, and not for one that stays parked
            until an operator unparks it.
    """

    id: str
    state: ChildState
    since: float
    restarts: int = 0
    last_error: str | None = None
    next_try_at: float | None = None
    last_error_at: float | None = None
