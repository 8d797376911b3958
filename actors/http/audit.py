"""The audit log: one `admin_action` line for each thing that an operator did, or tried to do.

Who (the token, or a session by a name that opens nothing), from where, what, to whom, and what came of
it. What was typed (passwords, codes, the token) is never part of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from actors.http.notes import ERROR
from actors.http.request_facts import short
from actors.http.request_ids import request_id_of
from actors.observing import contained

UNAUTHENTICATED: Final = "unauthenticated"
_FACTS: Final = web.RequestKey("audit facts", dict[str, Any])


def add_facts(request: web.Request, **facts: Any) -> None:
    """Have more facts in the line about this request, e.g. how many accounts were imported."""
    request[_FACTS] = {**request.get(_FACTS, {}), **facts}


class Audit:
    """Writes the lines."""

    def __init__(self, log: FilteringBoundLogger, address_of: Callable[[web.Request], str]) -> None:
        self._log = log.bind(actor="admin")
        self._address_of = address_of
        # Writes the line about one request that was answered: what was done is done, line or no line.
        self.write = contained(self._write, "audit", log=self._log)

    def _write(self, request: web.Request, who: str, answer: web.StreamResponse) -> None:
        resource = request.match_info.route.resource
        path = request.path if resource is None else resource.canonical
        targets = request.match_info.values()
        self._log.info(
            "admin_action",
            action=short(f"{request.method} {path}"),
            target=short(next(iter(targets), None)),
            who=who,
            address=self._address_of(request),
            status=answer.status,
            outcome=answer.get(ERROR, "done"),
            request_id=request_id_of(request),
            **request.get(_FACTS, {}),
        )
