"""`GET /healthz`, `/readyz`, `/status`."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from actors.actor import Address
from actors.bot.registry import BotRegistry
from actors.bot.states import BotState
from actors.clock import Clock, within
from actors.dashboard.alerts import without_names
from actors.dashboard.dashboard import Dashboard
from actors.errors import LocalProtocolError
from actors.http.auth.admission import Admission
from actors.http.content import json_response
from actors.http.errors import error_body
from actors.http.openapi.operation import Operation
from actors.http.openapi.operations import GET_HEALTHZ, GET_READYZ, GET_STATUS
from actors.http.openapi.outputs import AlertOutput, Need
from actors.router.messages import GetRouter, RouterMessage, RouterReport

ASK_S: Final = 2.0  # a service that does not answer in that time is unhealthy


class StatusRoutes:
    """Routes of the service's status."""

    def __init__(
        self,
        registry: BotRegistry,
        router: Address[RouterMessage],
        dashboard: Dashboard,
        admission: Admission,
        *,
        facts: Callable[[], Mapping[str, Any]],
        clock: Clock,
    ) -> None:
        """`facts` returns the version and the state of the settings and of the log."""
        self._registry = registry
        self._router = router
        self._dashboard = dashboard
        self._newest: dict[str, list[dict[str, Any]]] = {"alerts": [], "needs": []}
        self._clock = clock
        self._admission = admission
        self._facts = facts

    def routes(self) -> Iterable[tuple[Operation, Handler]]:
        """Return the operations and their handlers."""
        return ((GET_HEALTHZ, self.healthz), (GET_READYZ, self.readyz), (GET_STATUS, self.status))

    async def healthz(self, request: web.Request) -> web.Response:
        """200 while the event loop and the router answer; else 503."""
        try:
            await self._ask_router()
        except (TimeoutError, LocalProtocolError):
            return error_body(503, "unhealthy", "an actor does not answer")
        return json_response(request, b'{"status":"ok"}')

    async def readyz(self, request: web.Request) -> web.Response:
        """200 while a new match can be asked for, or only the budget is spent; else 503."""
        try:
            router = await self._ask_router()
        except (TimeoutError, LocalProtocolError):
            return error_body(503, "notready", "the service is starting or stopping", 1.0)
        answer: dict[str, Any] = {"status": "ready", "ready": router.ready}
        if router.budget == "spent":
            answer |= {"budget": "spent", "frees_at": router.frees_at, "message": router.refusal}
        elif router.refusal is not None:
            return error_body(503, "notready", router.refusal, router.retry_after)
        return json_response(request, orjson.dumps(answer))

    async def status(self, request: web.Request) -> web.Response:
        """The fleet as JSON."""
        try:
            router = await self._ask_router()
        except (TimeoutError, LocalProtocolError):
            return error_body(503, "unhealthy", "an actor does not answer")
        bots = self._registry.reports()
        counts = Counter(bot.state for bot in bots)
        answer = {
            **self._facts(),
            "bots": {"count": len(bots), **{state.value: counts[state] for state in BotState}},
            "router": asdict(router),
            **await self._alerts_and_needs(),
            "fleet": [asdict(bot) for bot in bots],
        }
        if not self._admission.may_see_names(request):
            answer |= {
                "alerts": without_names(answer["alerts"]),
                "needs": [],
                # The text of an error may name an account.
                "fleet": [bot | {"account": None, "last_error": None} for bot in answer["fleet"]],
            }
        return json_response(request, orjson.dumps(answer))

    async def _ask_router(self) -> RouterReport:
        return await self._router.ask(GetRouter(), deadline=self._clock.now() + ASK_S)

    async def _alerts_and_needs(self) -> dict[str, list[dict[str, Any]]]:
        """Return the dashboard's alerts and needs; the newest known ones while it does not run."""
        with contextlib.suppress(TimeoutError, LocalProtocolError):
            async with within(self._clock, ASK_S):
                snapshot = await self._dashboard.snapshot()
            self._newest = {
                "alerts": [AlertOutput.of(alert).model_dump() for alert in snapshot.headlines],
                "needs": [
                    Need(account=one.account, need=one.need, command=one.command).model_dump()
                    for one in snapshot.accounts.values()
                    if one.need is not None and one.command is not None
                ],
            }
        return self._newest
