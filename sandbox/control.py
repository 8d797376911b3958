"""The control API: what tests read and what they switch. Described in docs/sandbox.md.

Speaks HTTP and JSON; every deed is done by the part that owns it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson
from aiohttp import web

from sandbox.accounts import Account
from sandbox.faults import SWITCHES, FaultError
from sandbox.journal import KINDS
from sandbox.link import DropMode
from sandbox.services import Services
from sandbox.session import Session, Sessions, Stage

PREFIX: Final = "/control"
_MOST_EVENTS: Final = 100_000
_LONGEST_WAIT_S: Final = 300.0
Json = dict[str, Any]


class Control:
    """The handlers, one per route."""

    def __init__(
        self, services: Services, sessions: Sessions, apply_faults: Callable[[], Awaitable[None]]
    ) -> None:
        self._services = services
        self._sessions = sessions
        self._apply_faults = apply_faults

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Serve everything below `PREFIX`."""
        for method, path, handler in (
            ("GET", "/journal", self._journal),
            ("GET", "/journal/wait", self._wait),
            ("GET", "/summary", self._summary),
            ("GET", "/sessions", self._list_sessions),
            ("GET", "/mailbox", self._mailbox),
            ("GET", "/faults", self._faults),
            ("POST", "/faults", self._set_faults),
            ("DELETE", "/faults", self._clear_faults),
            ("POST", "/drop", self._drop),
            ("POST", "/log-off", self._log_off),
            ("GET", "/matches", self._matches),
            ("POST", "/matches/not-found", self._not_found),
            ("POST", "/matches/blocked", self._blocked),
            ("POST", "/tokens/revoke", self._revoke),
            ("POST", "/auth/decide", self._decide),
            ("POST", "/quota", self._quota),
        ):
            router.add_route(method, PREFIX + path, handler)

    # --- reading ------------------------------------------------------------------------------
    async def _journal(self, request: web.Request) -> web.Response:
        since, limit = _int(request, "since", 0), _int(request, "limit", _MOST_EVENTS)
        events = self._services.journal.read(since=since, kinds=_kinds(request), limit=limit)
        return _json({"events": events, "last": len(self._services.journal)})

    async def _wait(self, request: web.Request) -> web.Response:
        kinds = _kinds(request)
        if not kinds:
            raise _bad("kind is required")
        since, count = _int(request, "since", 0), _int(request, "count", 1)
        timeout_s = min(_float(request, "timeout", 10.0), _LONGEST_WAIT_S)
        known = {"kind", "since", "count", "timeout"}
        match = {key: value for key, value in request.query.items() if key not in known}
        journal = self._services.journal
        satisfied = await journal.wait(kinds, count, timeout_s, since=since, match=match)
        events = journal.read(since=since, kinds=kinds, limit=_MOST_EVENTS)
        events = [one for one in events if all(str(one.get(k)) == v for k, v in match.items())]
        return _json({"satisfied": satisfied, "events": events, "last": len(journal)})

    async def _summary(self, request: web.Request) -> web.Response:
        del request
        facts = self._services.journal.facts
        now = self._services.calendar.now()
        return _json(
            {
                "last": len(self._services.journal),
                "kinds": facts.kinds,
                "connections_now": facts.connections_now,
                "sessions_now": {name: n for name, n in facts.sessions_now.items() if n},
                "max_concurrent": facts.max_concurrent,
                "logons": facts.logons,
                "requests": facts.requests,
                "served": facts.served,
                "served_by_source": facts.served_by_source,
                "outcomes": facts.outcomes,
                "quota_used": self._services.quotas.used(now),
            }
        )

    async def _list_sessions(self, request: web.Request) -> web.Response:
        del request
        return _json({"sessions": [_shown(session) for session in self._sessions]})

    async def _mailbox(self, request: web.Request) -> web.Response:
        return _json({"mails": self._services.mailbox.read(request.query.get("account"))})

    async def _matches(self, request: web.Request) -> web.Response:
        del request
        catalogue = self._services.catalogue
        return _json(
            {"not_found": sorted(catalogue.not_found), "blocked": sorted(catalogue.blocked)}
        )

    # --- faults -------------------------------------------------------------------------------
    async def _faults(self, request: web.Request) -> web.Response:
        del request
        known = {name: text for name, (_, text) in SWITCHES.items()}
        return _json({"faults": self._services.faults.shown(), "switches": known})

    async def _set_faults(self, request: web.Request) -> web.Response:
        try:
            self._services.faults.set(await _body(request))
        except FaultError as error:
            raise _bad(str(error)) from error
        return await self._changed()

    async def _clear_faults(self, request: web.Request) -> web.Response:
        names = frozenset(filter(None, request.query.get("name", "").split(",")))
        self._services.faults.clear(names)
        return await self._changed()

    async def _changed(self) -> web.Response:
        await self._apply_faults()
        shown = self._services.faults.shown()
        self._services.journal.add("faults_changed", faults=sorted(shown))
        return _json({"faults": shown})

    # --- doing --------------------------------------------------------------------------------
    async def _drop(self, request: web.Request) -> web.Response:
        body = await _body(request)
        try:
            mode = DropMode(body.get("mode", "close"))
        except ValueError as error:
            raise _bad(f"mode is one of {', '.join(DropMode)}") from error
        chosen = self._chosen(body)
        for session in chosen:
            session.drop(mode)
        self._services.journal.add("connections_dropped", count=len(chosen), mode=mode)
        return _json({"dropped": len(chosen)})

    async def _log_off(self, request: web.Request) -> web.Response:
        body = await _body(request)
        chosen = [one for one in self._chosen(body) if one.stage is Stage.LOGGED_ON]
        for session in chosen:
            session.log_off(int(body.get("eresult", 2)), "control")
        return _json({"logged_off": len(chosen)})

    def _chosen(self, body: Json) -> list[Session]:
        accounts, cms = body.get("accounts"), body.get("cms")
        if accounts is None and cms is None and "fraction" not in body and not body.get("all"):
            raise _bad("say which: all, accounts, cms or fraction")
        found = [
            session
            for session in self._sessions
            if (accounts is None or session.name in accounts)
            and (cms is None or session.link.cm in cms)
        ]
        fraction = float(body.get("fraction", 1.0))
        if fraction < 1.0:
            found = self._services.rng.sample(found, round(len(found) * fraction))
        return found

    async def _not_found(self, request: web.Request) -> web.Response:
        return await self._hide(request, self._services.catalogue.not_found)

    async def _blocked(self, request: web.Request) -> web.Response:
        return await self._hide(request, self._services.catalogue.blocked)

    async def _hide(self, request: web.Request, ids: set[int]) -> web.Response:
        body = await _body(request)
        ids -= {int(match_id) for match_id in body.get("remove", [])}
        ids |= {int(match_id) for match_id in body.get("add", [])}
        return await self._matches(request)

    async def _revoke(self, request: web.Request) -> web.Response:
        body = await _body(request)
        account = self._account(body)
        self._services.tokens.revoke_all(account)
        self._services.journal.add("tokens_revoked", account=account.name)
        if "log_off" in body:
            for session in self._sessions.of(account.name):
                session.log_off(int(body["log_off"]), "revoked")
        return _json({"revoked": account.name})

    async def _decide(self, request: web.Request) -> web.Response:
        body = await _body(request)
        account = self._account(body)
        approve = bool(body.get("approve", True))
        count = self._services.authenticator.decide(account.name, approve=approve)
        return _json({"decided": count})

    async def _quota(self, request: web.Request) -> web.Response:
        body = await _body(request)
        quotas, calendar = self._services.quotas, self._services.calendar
        quotas.per_account = int(body.get("account", quotas.per_account))
        quotas.per_ip = int(body.get("ip", quotas.per_ip))
        calendar.advance(float(body.get("advance_s", 0.0)))
        if body.get("reset"):
            quotas.reset()
        used = quotas.used(calendar.now())
        return _json({"account": quotas.per_account, "ip": quotas.per_ip, "used": used})

    def _account(self, body: Json) -> Account:
        account = self._services.accounts.by_name(str(body.get("account", "")))
        if account is None:
            raise _bad("no such account")
        return account


def _shown(session: Session) -> Json:
    return {
        "connection": session.number,
        "cm": session.link.cm,
        "source": session.link.source,
        "stage": session.stage.value,
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
