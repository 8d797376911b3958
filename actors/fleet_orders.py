"""What an operator may ask of the fleet while it runs: messages to its desk.

Every order is answered as soon as it is understood; what takes time (requests under way are finished,
bots log off) goes on behind it and is seen in the bots' states.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from actors.actor import Ask

LARGEST_FLEET: Final = 1000  # bots; as `bots.count` has it


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """What the fleet is meant to be."""

    count: int  # bots that there shall be
    configured: int  # by the settings; another number than `count` after a ScaleFleet
    drained: bool  # by DrainFleet
    parked: tuple[str, ...]  # bots that a person parked
    leaving: tuple[str, ...]  # bots that still finish what they have under way


@dataclass(frozen=True, slots=True)
class GetFleetPlan(Ask[FleetPlan]):
    """How the fleet is meant to be now."""


@dataclass(frozen=True, slots=True)
class ScaleFleet(Ask[FleetPlan]):
    """Have so many bots, until the settings' own number is edited."""

    count: int


@dataclass(frozen=True, slots=True)
class DrainFleet(Ask[FleetPlan]):
    """Let every bot finish, log off and give its account back, and begin nothing until ResumeFleet."""


@dataclass(frozen=True, slots=True)
class ResumeFleet(Ask[FleetPlan]):
    """Start every bot again, except those that an operator parked."""


@dataclass(frozen=True, slots=True)
class RestartBot(Ask[FleetPlan]):
    """Restart a bot once its requests end, and clear its failures. Fails with NoSuchBot."""

    bot_id: str


@dataclass(frozen=True, slots=True)
class ParkBot(Ask[FleetPlan]):
    """Let a bot finish, log off and stay away until UnparkBot. Fails with NoSuchBot."""

    bot_id: str


@dataclass(frozen=True, slots=True)
class UnparkBot(Ask[FleetPlan]):
    """Let a parked bot work, or one that waits for its next try, now. Fails with NoSuchBot."""

    bot_id: str


FleetOrder = GetFleetPlan | ScaleFleet | DrainFleet | ResumeFleet | RestartBot | ParkBot | UnparkBot
