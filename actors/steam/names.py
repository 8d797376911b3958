"""Former names of players: a question to Steam itself, not to the Game Coordinator."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from steam.protobufs.steammessages_clientserver_pb2 import CMsgClientAMGetPersonaNameHistory

from actors.steam.connection import Connection
from actors.steam.emsg import CLIENT_GET_PERSONA_NAME_HISTORY, CLIENT_PERSONA_NAME_HISTORY_RESPONSE
from actors.steam.envelope import Message


class NameHistories:
    """Lives in the hub; `on_body` gets (job, body) of every answer there and must not wait."""

    def __init__(self, connection: Connection, *, on_body: Callable[[int, bytes], None]) -> None:
        self._connection = connection
        self._on_body = on_body
        connection.on(CLIENT_PERSONA_NAME_HISTORY_RESPONSE, self._on_response)

    def request(self, steam_ids: Iterable[int], job: int) -> None:
        """Send one request; the answer comes to `on_body` with the same job."""
        request = CMsgClientAMGetPersonaNameHistory()
        for steam_id in steam_ids:
            request.Ids.add().steamid = steam_id
        request.id_count = len(request.Ids)
        self._connection.send(CLIENT_GET_PERSONA_NAME_HISTORY, request, jobid_source=job)

    def _on_response(self, message: Message) -> None:
        self._on_body(message.job_target, message.body)
