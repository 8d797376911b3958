"""The aiohttp application: which path is answered by what. What stands before it is in edge.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from aiohttp import web

from actors.http.admission import Admission
from actors.http.bodies import MAX_BODY, bodies_first
from actors.http.docs import DocsRoutes
from actors.http.edge import Shortcuts
from actors.http.openapi import document
from actors.http.operation import Routes, add_routes, shortcuts
from actors.http.security_headers import on_prepare


@dataclass(frozen=True, slots=True)
class Site:
    """The application, and what need not be looked for in it."""

    app: web.Application
    shortcuts: Shortcuts = field(default_factory=dict)


def make_site(groups: Sequence[Routes], admission: Admission, *, version: str) -> Site:
    """Serve `groups`, and what describes them."""
    app = bare_app(admission)
    operations = tuple(add_routes(app, *groups))
    DocsRoutes(lambda: document(operations, version=version)).add_to(app)
    return Site(app, shortcuts(*groups))


def bare_app(admission: Admission) -> web.Application:
    """Return an application without routes."""
    app = web.Application(middlewares=[bodies_first(admission)], client_max_size=MAX_BODY)
    app.on_response_prepare.append(on_prepare)
    return app
