"""Calls of Steam's service methods over a connection, before and after the logon."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any, Final

from actors.steam.connection import Connection
from actors.steam.emsg import (
    SERVICE_METHOD_CALL,
    SERVICE_METHOD_CALL_NON_AUTHED,
    SERVICE_METHOD_RESPONSE,
)
from actors.steam.envelope import Message

REALM_GLOBAL: Final = 1


class Services:
    """Service calls with their own 64-bit job ids, never reused: a late answer matches no call."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._jobs = itertools.count(1)
        connection.on(SERVICE_METHOD_RESPONSE, self._on_response)

    def call(self, method: str, request: Any) -> tuple[int, bytes]:
        """Return (EResult, body); waits (this greenlet), the caller sets the time limit.

        Raises:
            SteamUnreachable: the connection died.
        """
        job = next(self._jobs)
        authed = self._connection.session_id != 0
        emsg = SERVICE_METHOD_CALL if authed else SERVICE_METHOD_CALL_NON_AUTHED
        header = {"jobid_source": job, "target_job_name": method, "realm": REALM_GLOBAL}
        send = partial(self._connection.send, emsg, request, **header)
        answer: tuple[int, bytes] = self._connection.wait(("service", job), send)
        return answer

    def _on_response(self, message: Message) -> None:
        self._connection.resolve(("service", message.job_target), (message.eresult, message.body))
