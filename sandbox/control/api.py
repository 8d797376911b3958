"""HTTP control API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from sandbox.control import scenario
from sandbox.control.actions import Actions
from sandbox.control.faults import SWITCHES
from sandbox.control.journal import KINDS
from sandbox.steam.context import Context
from sandbox.steam.session import Session, Sessions

PREFIX: Final = "/control"
# Routes that run an action by POST.
ACTION_PATHS: Final[Mapping[str, str]] = {
    "/faults": "faults",
    "/drop": "drop",
    "/log-off": "log_off",
    "/push": "push",
    "/corrupt": "corrupt",
    "/matches/not-found": "not_found",
    "/matches/blocked": "blocked",
    "/matches/no-replay": "no_replay",
    "/tokens/revoke": "revoke",
    "/auth/decide": "decide",
    "/quota": "quota",
}
_TUESDAY: Final = ("gc_first_s", "down_s", "return_s")
_MOST_EVENTS: Final = 100_000
_LONGEST_WAIT_S: Final = 300.0
Json = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Control:
    """The routes that read state, and those that run actions."""

    def __init__(self, context: Context, sessions: Sessions, actions: Actions) -> None:
        self._context = context
        self._sessions = sessions
        self._actions = actions
        self._scenarios: set[asyncio.Task[None]] = set()

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the routes below `PREFIX`."""
        for method, path, handler in (
            ("GET", "/journal", self._journal),
            ("GET", "/journal/wait", self._wait),
            ("GET", "/summary", self._summary),
            ("GET", "/sessions", self._list_sessions),
            ("GET", "/mailbox", self._mailbox),
            ("GET", "/faults", self._faults),
            ("DELETE", "/faults", self._clear_faults),
            ("GET", "/matches", self._matches),
            ("POST", "/scenario", self._scenario),
        ):
            router.add_route(method, PREFIX + path, handler)
        for path, action in ACTION_PATHS.items():
            router.add_post(PREFIX + path, self._action_handler(self._actions.table[action]))

    async def close(self) -> None:
        """Cancel running scenarios."""
        for task in self._scenarios:
            task.cancel()
        if self._scenarios:
            await asyncio.wait(self._scenarios)

    # --- state --------------------------------------------------------------------------------
    async def _journal(self, request: web.Request) -> web.Response:
        since, limit = _int(request, "since", 0), _int(request, "limit", _MOST_EVENTS)
        events = self._context.journal.read(since=since, kinds=_kinds(request), limit=limit)
        return _json({"events": events, "last": len(self._context.journal)})

    async def _wait(self, request: web.Request) -> web.Response:
        kinds = _kinds(request)
        if not kinds:
            raise _bad("kind is required")
        since, count = _int(request, "since", 0), _int(request, "count", 1)
        timeout_s = min(_float(request, "timeout", 10.0), _LONGEST_WAIT_S)
        known = {"kind", "since", "count", "timeout"}
        match = {key: value for key, value in request.query.items() if key not in known}
        journal = self._context.journal
        satisfied = await journal.wait(kinds, count, timeout_s, since=since, match=match)
        events = journal.read(since=since, kinds=kinds, limit=_MOST_EVENTS)
        events = [one for one in events if all(str(one.get(k)) == v for k, v in match.items())]
        return _json({"satisfied": satisfied, "events": events, "last": len(journal)})

    async def _summary(self, request: web.Request) -> web.Response:
        del request
        facts = self._context.journal.facts
        now = self._context.now()
        return _json(
            {
                "last": len(self._context.journal),
                "kinds": facts.kinds,
                "connections_now": facts.connections_now,
                "sessions_now": {name: n for name, n in facts.sessions_now.items() if n},
                "max_concurrent": facts.max_concurrent,
                "logons": facts.logons,
                "requests": facts.requests,
                "served": facts.served,
                "served_by_source": facts.served_by_source,
                "outcomes": facts.outcomes,
                "quota_used": self._context.quotas.used(now),
            }
        )

    async def _list_sessions(self, request: web.Request) -> web.Response:
        del request
        return _json({"sessions": [_session_json(session) for session in self._sessions]})

    async def _mailbox(self, request: web.Request) -> web.Response:
        return _json({"mails": self._context.mailbox.read(request.query.get("account"))})

    async def _matches(self, request: web.Request) -> web.Response:
        del request
        return _json(self._actions.hidden())

    async def _faults(self, request: web.Request) -> web.Response:
        del request
        known = {name: text for name, (_, text) in SWITCHES.items()}
        return _json({"faults": self._context.faults.to_json(), "switches": known})

    # --- actions ------------------------------------------------------------------------------
    def _action_handler(self, action: Callable[[Json], Awaitable[Json]]) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            try:
                return _json(await action(await _body(request)))
            except ValueError as error:  # FaultError, ActionError, invalid numbers
                raise _bad(str(error)) from error

        return handler

    async def _clear_faults(self, request: web.Request) -> web.Response:
        names = [name for name in request.query.get("name", "").split(",") if name]
        return _json(await self._actions.clear_faults({"names": names}))

    async def _scenario(self, request: web.Request) -> web.Response:
        """Start a scenario: `steps`, or the `name` "tuesday" with its three durations."""
        body = await _body(request)
        name = str(body.get("name", "steps"))
        try:
            if name == "tuesday":
                durations = {key: float(body.get(key, 1.0)) for key in _TUESDAY}
                steps = scenario.tuesday(**durations)
            else:
                steps = scenario.validate(body.get("steps"), self._actions)
        except ValueError as error:
            raise _bad(str(error)) from error
        self.start_scenario(steps, name)
        return _json({"started": name, "steps": len(steps)})

    def start_scenario(self, steps: list[scenario.Step], name: str) -> None:
        """Start a scenario in the background; `close` cancels it."""
        running = scenario.run(steps, self._actions, self._context.journal, name)
        task = asyncio.create_task(running, name=f"scenario {name}")
        self._scenarios.add(task)
        task.add_done_callback(self._scenarios.discard)


def _session_json(session: Session) -> Json:
    return {
        "connection": session.number,
        "cm": session.connection.cm,
        "source": session.connection.source,
        "stage": session.state.value,
        "account": session.name,
        "session": session.session_id,
        "playing": session.is_playing,
        "welcomed": session.gc.is_welcomed,
    }


async def _body(request: web.Request) -> Json:
    try:
        body = orjson.loads(await request.read() or b"{}")
    except orjson.JSONDecodeError as error:
        raise _bad("the body is not JSON") from error
    if not isinstance(body, dict):
        raise _bad("the body must be an object")
    return body


def _kinds(request: web.Request) -> frozenset[str]:
    kinds = frozenset(filter(None, request.query.get("kind", "").split(",")))
    if kinds - KINDS.keys():
        raise _bad(f"no such kind: {', '.join(sorted(kinds - KINDS.keys()))}")
    return kinds


def _int(request: web.Request, name: str, default: int) -> int:
    try:
        return int(request.query.get(name, default))
    except ValueError as error:
        raise _bad(f"{name} must be an integer") from error


def _float(request: web.Request, name: str, default: float) -> float:
    try:
        return float(request.query.get(name, default))
    except ValueError as error:
        raise _bad(f"{name} must be a number") from error


def _bad(message: str) -> web.HTTPBadRequest:
    body = orjson.dumps({"error": message})
    return web.HTTPBadRequest(body=body, content_type="application/json")


def _json(value: Any) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")
