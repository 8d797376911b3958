"""`/session`: signing in to the page with the admin token, and out again."""

from __future__ import annotations

import orjson
from aiohttp import hdrs, web
from pydantic import BaseModel, Field

from actors.http.admin_desk import BadInput, body_of
from actors.http.admission import SIGN_IN
from actors.http.audit import UNAUTHENTICATED, Audit, add_facts
from actors.http.client import SLOWED
from actors.http.errors import error_body, error_response
from actors.http.gate import Gate, is_own_page
from actors.http.json_response import json_response
from actors.http.sessions import Session, drop_cookie, set_cookie


class SignIn(BaseModel):
    """What a person types."""

    token: str = Field(strict=True, repr=False)


class SessionRoutes:
    """Routes to sign in and out. `gate` is None without an admin token; then no operator can sign in."""

    def __init__(self, gate: Gate | None, audit: Audit, *, is_private: bool) -> None:
        """`is_private`: only operators may watch."""
        self._gate = gate
        self._audit = audit
        self._is_private = is_private

    def add_to(self, app: web.Application) -> None:
        """Put the routes into the application."""
        app.router.add_get(SIGN_IN, self.show)
        if self._gate is not None:
            app.router.add_post(SIGN_IN, self.sign_in)
            app.router.add_delete(SIGN_IN, self.sign_out)

    async def show(self, request: web.Request) -> web.Response:
        """Whether there is an admin API, and whether this browser is signed in to it; for anybody."""
        if self._gate is None:
            return self._answer(request, "no-admin")
        session = self._gate.sessions.of(request)
        if session is None:
            return self._answer(request, "signed-out")
        return self._signed_in(request, self._gate, session)

    async def sign_in(self, request: web.Request) -> web.Response:
        """Begin a session with the admin token: `{"token": ...}`."""
        answer = await self._try(request, self._there)
        self._audit.write(request, UNAUTHENTICATED, answer)
        return answer

    async def sign_out(self, request: web.Request) -> web.Response:
        """End the session of this browser."""
        if not is_own_page(request):
            return _foreign()
        operator = self._there.operator(request)
        self._there.sessions.close(request)
        answer = self._answer(request, "signed-out")
        drop_cookie(answer)
        self._audit.write(request, operator.name if operator else UNAUTHENTICATED, answer)
        return answer

    @property
    def _there(self) -> Gate:
        assert self._gate is not None  # noqa: S101 - without one the routes do not exist
        return self._gate

    async def _try(self, request: web.Request, gate: Gate) -> web.Response:
        if not is_own_page(request):
            return _foreign()
        if SLOWED in request:
            return error_response(request[SLOWED])
        try:
            token = (await body_of(request, SignIn)).token
        except BadInput as error:
            return error_body(400, "invalid", str(error))
        if not gate.opens_for(token):
            return error_body(401, "unauthorized", "this is not the admin token")
        secret, session = gate.sessions.open()
        add_facts(request, session=session.name)
        answer = self._signed_in(request, gate, session)
        set_cookie(answer, secret, request)
        return answer

    def _signed_in(self, request: web.Request, gate: Gate, session: Session) -> web.Response:
        return self._answer(request, "signed-in", round(gate.sessions.left_s(session)))

    def _answer(self, request: web.Request, state: str, ends_in: int | None = None) -> web.Response:
        may_watch = state == "signed-in" or not self._is_private
        body = orjson.dumps({"state": state, "may_watch": may_watch, "ends_in": ends_in})
        answer = json_response(request, body)
        answer.headers[hdrs.CACHE_CONTROL] = "no-store"
        return answer


def _foreign() -> web.Response:
    return error_body(403, "foreign-page", "this did not come from the service's own page")
