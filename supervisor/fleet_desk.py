"""Actor that applies operators' orders to the fleet; like fleet.py it imports `actors` too."""

from __future__ import annotations

from typing import assert_never

from actors.actor import Actor, Address, Envelope
from actors.errors import FleetError
from actors.fleet_orders import (
    DrainFleet,
    FleetOrder,
    GetFleetPlan,
    ParkBot,
    RestartBot,
    ResumeFleet,
    ScaleFleet,
    UnparkBot,
)
from supervisor.clock import SystemClock
from supervisor.fleet import Fleet


class FleetDesk(Actor[FleetOrder]):
    """Applies the orders, one at a time."""

    def __init__(self, fleet: Fleet, *, address: Address[FleetOrder], clock: SystemClock) -> None:
        super().__init__(address, clock=clock)
        self._fleet = fleet

    async def handle(self, envelope: Envelope[FleetOrder]) -> None:
        """One order; answered with what the fleet is meant to be then."""
        reply = envelope.reply
        try:
            await self._carry_out(envelope.message)
        except FleetError as refusal:
            if reply is not None:
                reply.fail(refusal)
        else:
            if reply is not None:
                reply.set(self._fleet.plan())

    async def _carry_out(self, order: FleetOrder) -> None:
        fleet = self._fleet
        match order:
            case GetFleetPlan():
                pass
            case ScaleFleet(count=count):
                await fleet.scale(count)
            case DrainFleet():
                await fleet.drain()
            case ResumeFleet():
                await fleet.resume()
            case RestartBot(bot_id=bot_id):
                fleet.restart(bot_id)
            case ParkBot(bot_id=bot_id):
                fleet.park(bot_id)
            case UnparkBot(bot_id=bot_id):
                fleet.unpark(bot_id)
            case other:
                assert_never(other)
