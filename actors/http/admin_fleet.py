"""`/admin/bots` and `/admin/fleet`: restart, park, scale, drain. Only for operators (see `admin`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from actors.actor import Address, Ask
from actors.fleet_orders import (
    DrainFleet,
    FleetOrder,
    FleetPlan,
    GetFleetPlan,
    ParkBot,
    RestartBot,
    ResumeFleet,
    ScaleFleet,
    UnparkBot,
)
from actors.http.admin_desk import Desk, body_of
from actors.http.admin_operations import (
    GET_FLEET,
    POST_DRAIN,
    POST_PARK,
    POST_RESTART,
    POST_RESUME,
    POST_SCALE,
    POST_UNPARK,
    FleetSize,
)
from actors.http.audit import add_facts
from actors.http.json_response import json_response
from actors.http.operation import Operation


class FleetRoutes:
    """Hands an operator's orders to the fleet; each is answered with what it is meant to be then."""

    def __init__(self, fleet: Address[FleetOrder], desk: Desk) -> None:
        self._fleet = fleet
        self._desk = desk

    def routes(self) -> Iterable[tuple[Operation, Handler]]:
        """Return what it does."""
        return (
            (POST_RESTART, self.restart),
            (POST_PARK, self.park),
            (POST_UNPARK, self.unpark),
            (GET_FLEET, self.plan),
            (POST_SCALE, self.scale),
            (POST_DRAIN, self.drain),
            (POST_RESUME, self.resume),
        )

    async def restart(self, request: web.Request) -> web.Response:
        """Restart a bot: it finishes its requests, logs off, and starts again."""
        return await self._order(request, RestartBot(request.match_info["bot_id"]))

    async def park(self, request: web.Request) -> web.Response:
        """Let a bot finish what it has, log off, and stay away."""
        return await self._order(request, ParkBot(request.match_info["bot_id"]))

    async def unpark(self, request: web.Request) -> web.Response:
        """Let a parked bot work; one that waits for its next try begins it now."""
        return await self._order(request, UnparkBot(request.match_info["bot_id"]))

    async def plan(self, request: web.Request) -> web.Response:
        """What the fleet is meant to be."""
        return await self._order(request, GetFleetPlan(), status=200)

    async def scale(self, request: web.Request) -> web.Response:
        """Have another number of bots."""
        count = (await body_of(request, FleetSize)).count
        add_facts(request, count=count)
        return await self._order(request, ScaleFleet(count))

    async def drain(self, request: web.Request) -> web.Response:
        """Let every bot finish, log off and give its account back."""
        return await self._order(request, DrainFleet())

    async def resume(self, request: web.Request) -> web.Response:
        """Resume all bots except those that an operator parked."""
        return await self._order(request, ResumeFleet())

    async def _order(
        self, request: web.Request, order: Ask[FleetPlan], *, status: int = 202
    ) -> web.Response:
        plan = await self._desk.ask(self._fleet, order)
        return json_response(request, orjson.dumps(asdict(plan)), status=status)
