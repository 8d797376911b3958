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
from actors.bot.messages import FleetReport, GetFleet
from actors.bot.registry import RosterMessage
from actors.bot.states import BotState
from actors.clock import Clock
from actors.dashboard.dashboard import DashboardMessage, GetPicture
from actors.errors import LocalProtocolError
from actors.http.content import json_response
from actors.http.errors import error_body
from actors.http.openapi.operation import Operation
from actors.http.openapi.operations import GET_HEALTHZ, GET_READYZ, GET_STATUS
from actors.http.openapi.outputs import AlertOutput, Need
from actors.router.messages import GetRouter, RouterMessage, RouterReport

ASK_S: Final = 2.0  # an actor that does not answer in that time is not well
# Kinds of alerts that name accounts, in words for who may not see the names.
_NAMELESS: Final[Mapping[str, str]] = {
    "account-needs-person": "There are accounts that need a person.",
    "unusable-here": "There are accounts that this instance cannot use.",
}
_WHO_SEES_NAMES: Final = "Sign in, or show the admin token, to see which."


class StatusRoutes:
    """Asks the actors how they are; holds nothing itself."""

    def __init__(
        self,
        roster: Address[RosterMessage],
        router: Address[RouterMessage],
        lookout: Address[DashboardMessage],
        *,
        clock: Clock,
        about: Mapping[str, Any],
        config: Callable[[], Mapping[str, Any]],
        log: Callable[[], Mapping[str, int]],
        may_see_names: Callable[[web.Request], bool],
    ) -> None:
        """Make them.

        Args:
            roster: is asked for the bots.
            router: is asked whether new matches can be asked for.
            lookout: is asked for what is wrong and who is needed.
            clock: for the deadlines.
            about: constant facts shown on /status, e.g. the version; the others are asked each time.
            config: how the settings are.
            log: how the log is.
            may_see_names: whether who asks may see the names of accounts.
        """
        self._roster = roster
        self._router = router
        self._lookout = lookout
        # What the lookout said last.
        self._judged: dict[str, list[dict[str, Any]]] = {"alerts": [], "needs": []}
        self._clock = clock
        self._about = about
        self._config = config
        self._log = log
        self._may_see_names = may_see_names

    def routes(self) -> Iterable[tuple[Operation, Handler]]:
        """Return what it does."""
        return (
            (GET_HEALTHZ, self.healthz),
            (GET_READYZ, self.readyz),
            (GET_STATUS, self.status),
        )

    async def healthz(self, request: web.Request) -> web.Response:
        """200 while the event loop, the roster and the router answer; else 503."""
        try:
            await self._ask()
        except (TimeoutError, LocalProtocolError):
            return error_body(503, "unhealthy", "an actor does not answer")
        return json_response(request, b'{"status":"ok"}')

    async def readyz(self, request: web.Request) -> web.Response:
        """200 while a new match can be asked for, or only the budget is spent; else 503."""
        try:
            _, router = await self._ask()
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
            fleet, router = await self._ask()
        except (TimeoutError, LocalProtocolError):
            return error_body(503, "unhealthy", "an actor does not answer")
        counts = Counter(bot.state for bot in fleet.bots)
        answer = {
            **self._about,
            "config": self._config(),
            "log": self._log(),
            "bots": {
                "count": len(fleet.bots),
                **{state.value: counts[state] for state in BotState},
            },
            "router": asdict(router),
            **await self._ask_judged(),
            "fleet": [asdict(bot) for bot in fleet.bots],
        }
        if not self._may_see_names(request):
            answer |= _without_names(answer)
        return json_response(request, orjson.dumps(answer))

    async def _ask(self) -> tuple[FleetReport, RouterReport]:
        deadline = self._clock.now() + ASK_S
        fleet = await self._roster.ask(GetFleet(), deadline=deadline)
        router = await self._router.ask(GetRouter(), deadline=deadline)
        return fleet, router

    async def _ask_judged(self) -> dict[str, list[dict[str, Any]]]:
        """Return alerts and needs as the page shows them; the last ones where the lookout is away."""
        deadline = self._clock.now() + ASK_S
        with contextlib.suppress(TimeoutError, LocalProtocolError):
            picture = await self._lookout.ask(GetPicture(), deadline=deadline)
            self._judged = {
                "alerts": [AlertOutput.of(line).model_dump() for line in picture.headlines],
                "needs": [
                    Need(account=one.account, need=one.need, command=one.command).model_dump()
                    for one in picture.accounts.values()
                    if one.need is not None and one.command is not None
                ],
            }
        return self._judged


def _without_names(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a status that name accounts, without the names.

    An error's text may name one, and so may the reason why one cannot be used here.
    """
    alerts = [
        one | {"text": _NAMELESS[one["kind"]], "todo": _WHO_SEES_NAMES, "about": None}
        if one["kind"] in _NAMELESS
        else one
        for one in answer["alerts"]
    ]
    return {
        "alerts": list({one["text"]: one for one in alerts}.values()),
        "needs": [],
        "fleet": [bot | {"account": None, "last_error": None} for bot in answer["fleet"]],
    }
