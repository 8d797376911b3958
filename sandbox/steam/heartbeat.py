"""Handlers of heartbeats and server time."""

from __future__ import annotations

import asyncio

from sandbox.protocol import messages
from sandbox.protocol.emsg import EMsg
from sandbox.protocol.envelope import Message
from sandbox.steam.session import Session


def on_heartbeat(session: Session, message: Message) -> None:
    """Record the heartbeat; answer it if the client asks for that."""
    session.last_heartbeat_at = asyncio.get_running_loop().time()
    if not messages.HEARTBEAT.decode(message.body).get("send_reply"):
        return
    if not session.context.faults.take(
        "heartbeats_ignored", account=session.name, cm=session.connection.cm
    ):
        session.send(EMsg.HEARTBEAT, messages.HEARTBEAT.encode({"send_reply": False}))


def on_server_timestamp(session: Session, message: Message) -> None:
    """Answer with Steam's time in milliseconds."""
    asked = messages.SERVER_TIMESTAMP.decode(message.body).get("client_request_timestamp", 0)
    values = {
        "client_request_timestamp": asked,
        "server_timestamp_ms": int(session.context.now() * 1000),
    }
    body = messages.SERVER_TIMESTAMP_RESPONSE.encode(values)
    session.send(EMsg.SERVER_TIMESTAMP_RESPONSE, body, job=message.job)


def on_ignored(session: Session, message: Message) -> None:
    """Accept a message that needs no answer, such as a persona state."""
    del session, message
