"""Message number -> handler, and which messages are allowed when."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from sandbox.gc import gc, player_queries
from sandbox.protocol import envelope
from sandbox.protocol.emsg import EMsg
from sandbox.protocol.wire import WireError
from sandbox.steam import auth, games_played, heartbeat, logon
from sandbox.steam.session import Session, Stage

Handler = Callable[[Session, envelope.Message], None]
log = logging.getLogger(__name__)

ALWAYS: Final[Mapping[int, Handler]] = {
    EMsg.HELLO: logon.on_hello,
    EMsg.LOGON: logon.on_logon,
    EMsg.SERVICE_METHOD_CALL_NON_AUTHED: auth.on_non_authed_call,
}
LOGGED_ON: Final[Mapping[int, Handler]] = {
    EMsg.TO_GC: gc.on_to_gc,
    EMsg.HEARTBEAT: heartbeat.on_heartbeat,
    EMsg.LOG_OFF: logon.on_log_off,
    EMsg.SERVICE_METHOD_CALL: auth.on_call,
    EMsg.GAMES_PLAYED: games_played.on_games_played,
    EMsg.GAMES_PLAYED_WITH_DATA_BLOB: games_played.on_games_played,
    EMsg.KICK_PLAYING_SESSION: games_played.on_kick,
    EMsg.REQUEST_FREE_LICENSE: games_played.on_free_license,
    EMsg.SERVER_TIMESTAMP: heartbeat.on_server_timestamp,
    EMsg.PERSONA_NAME_HISTORY: player_queries.on_aliases,
    EMsg.CHANGE_STATUS: heartbeat.on_ignored,
}


def receive(session: Session, data: bytes) -> None:
    """Serve one message from the client; whatever is wrong with it ends the connection."""
    if session.stage is Stage.ENDED:
        return
    session.heard_at = asyncio.get_running_loop().time()
    try:
        message = envelope.parse(data)
        _serve(session, message)
    except WireError as error:
        session.violate(f"malformed: {error}")
    except Exception as error:  # the boundary: one broken handler must not end the sandbox
        log.exception("handler failed")
        session.services.journal.add("sandbox_error", connection=session.number, error=repr(error))
        session.violate("sandbox error")


def _serve(session: Session, message: envelope.Message) -> None:
    if not message.is_proto:  # no client has a reason to send the old form any more
        return
    handler = ALWAYS.get(message.emsg)
    if handler is not None:
        handler(session, message)
        return
    if session.stage is not Stage.LOGGED_ON:
        if message.emsg == EMsg.SERVICE_METHOD_CALL:
            session.violate("service call before logon")
        return
    header = message.header
    if (
        header.get("client_sessionid") != session.session_id
        or header.get("steamid") != session.steamid
    ):
        session.violate("wrong session id or steamid")
        return
    handler = LOGGED_ON.get(message.emsg)
    if handler is not None:
        handler(session, message)
