"""Steam's small requests: heartbeats, server time, former names of players."""

from __future__ import annotations

import asyncio
import time

from sandbox import messages
from sandbox.emsg import EMsg
from sandbox.envelope import Message
from sandbox.session import Session


def on_heartbeat(session: Session, message: Message) -> None:
    """Note the beat; answer it if asked to."""
    session.beat_at = asyncio.get_running_loop().time()
    if not messages.HEARTBEAT.decode(message.body).get("send_reply"):
        return
    if not session.services.faults.take(
        "heartbeats_ignored", account=session.name, cm=session.link.cm
    ):
        session.send(EMsg.HEARTBEAT, messages.HEARTBEAT.encode({"send_reply": False}))


def on_server_timestamp(session: Session, message: Message) -> None:
    """Tell the time in milliseconds."""
    asked = messages.SERVER_TIMESTAMP.decode(message.body).get("client_request_timestamp", 0)
    values = {"client_request_timestamp": asked, "server_timestamp_ms": int(time.time() * 1000)}
    body = messages.SERVER_TIMESTAMP_RESPONSE.encode(values)
    session.send(EMsg.SERVER_TIMESTAMP_RESPONSE, body, job=message.job)


def on_aliases(session: Session, message: Message) -> None:
    """Answer with two former names for everybody."""
    asked = messages.ALIASES.decode(message.body).get("ids", [])
    tables = [_names(row.get("steamid", 0)) for row in asked]
    body = messages.ALIASES_RESPONSE.encode({"responses": tables})
    session.send(EMsg.PERSONA_NAME_HISTORY_RESPONSE, body, job=message.job)


def _names(steamid: int) -> dict[str, object]:
    names = [
        {"name_since": 1_716_591_442, "name": f"player {steamid % 1000}"},
        {"name_since": 1_585_956_433, "name": f"former {steamid % 1000}"},
    ]
    return {"eresult": 1, "steamid": steamid, "names": names}


def on_ignored(session: Session, message: Message) -> None:
    """Accept what needs no answer, such as a persona state."""
    del session, message
