"""Recipes for all children but the bots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from supervisor.bot_specs import PARK_FOR_S
from supervisor.child import Backoff, Child, ChildSpec, GiveUp, Restart, RestartIntensity

CORE_BACKOFF: Final = Backoff(base=0.1, cap=5.0, stable_after=30.0)
CORE_INTENSITY: Final = RestartIntensity(max_restarts=5, period=60.0)
# A thread that hangs cannot be replaced inside this process: the container engine starts a new one.
NO_RESTART: Final = RestartIntensity(max_restarts=0, period=60.0)
CORE_GRACE_S: Final = 5.0


def core_child(
    child_id: str,
    factory: Callable[[], Child],
    *,
    grace: float = CORE_GRACE_S,
    intensity: RestartIntensity = CORE_INTENSITY,
    give_up: GiveUp = GiveUp.ESCALATE,
) -> ChildSpec:
    """Return the child spec; use `GiveUp.PARK` for a child that the service can run without."""
    return ChildSpec(
        id=child_id,
        factory=factory,
        restart=Restart.PERMANENT,
        intensity=intensity,
        backoff=CORE_BACKOFF,
        grace=grace,
        give_up=give_up,
        park_for=PARK_FOR_S,
    )
