"""Dispatch of client messages to handlers, by message number and session state."""

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
from sandbox.steam.session import Session, SessionState

Handler = Callable[[Session, envelope.Message], None]
log = logging.getLogger(__name__)

BEFORE_LOGON: Final[Mapping[int, Handler]] = {
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
    """Handle one message from the client; an invalid message closes the connection."""
    if session.state is SessionState.ENDED:
        return
    session.last_message_at = asyncio.get_running_loop().time()
    try:
        message = envelope.parse(data)
        _handle(session, message)
    except WireError as error:
        session.close_on_violation(f"malformed: {error}")
    except Exception as error:  # a bug in one handler must not stop the sandbox
        log.exception("handler failed")
        session.context.journal.add("sandbox_error", connection=session.number, error=repr(error))
        session.close_on_violation("sandbox error")


def _handle(session: Session, message: envelope.Message) -> None:
    if not message.is_proto:  # no client sends the old struct form
        return
    handler = BEFORE_LOGON.get(message.emsg)
    if handler is not None:
        handler(session, message)
        return
    if session.state is not SessionState.LOGGED_ON:
        if message.emsg == EMsg.SERVICE_METHOD_CALL:
            session.close_on_violation("service call before logon")
        return
    header = message.header
    if (
        header.get("client_sessionid") != session.session_id
        or header.get("steamid") != session.steamid
    ):
        session.close_on_violation("wrong session id or steamid")
        return
    handler = LOGGED_ON.get(message.emsg)
    if handler is not None:
        handler(session, message)
