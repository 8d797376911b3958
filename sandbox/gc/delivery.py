"""Delivery of GC answers: encoded, delayed, reordered, duplicated.

Envelopes are assembled from bytes because this is the hot path.
"""

from __future__ import annotations

import asyncio
import gzip
import lzma
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from sandbox.gc.messages import COMPRESSED
from sandbox.protocol.emsg import DOTA, PROTO_BIT, EMsg, GcMsg
from sandbox.protocol.envelope import NO_JOB
from sandbox.protocol.wire import varint
from sandbox.steam import post_logon
from sandbox.steam.session import Session, SessionState

OnSent: TypeAlias = Callable[[float], None]  # called with the loop time of the send
# Message type, body, the client's job, callback after the send.
_Answer: TypeAlias = tuple[int, bytes, int, OnSent | None]

UNKNOWN_GC_MSG: Final = 65_001
_HEAD: Final = struct.Struct("<Ii")
_JOB_TAG: Final = varint(11 << 3 | 1)  # job_id_target, fixed64
_APPID: Final = varint(1 << 3) + varint(DOTA)  # CMsgGCClient.appid
_MSGTYPE_TAG: Final = varint(2 << 3)
_PAYLOAD_TAG: Final = varint(3 << 3 | 2)
_ROUTING: Final = varint(3 << 3) + varint(DOTA)  # CMsgProtoBufHeader.routing_appid

_COMPRESSIONS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "gzip": gzip.compress,
    "unknown": lzma.compress,
}


def send(session: Session, msgtype: int, body: bytes, job: int = NO_JOB) -> None:
    """Send one GC message now; `job` is the client's GC job that it answers."""
    payload = _payload(msgtype, body, job)
    number = varint(msgtype | PROTO_BIT)
    wrapped = b"".join((_APPID, _MSGTYPE_TAG, number, _PAYLOAD_TAG, varint(len(payload)), payload))
    session.connection.send(session.build(EMsg.FROM_GC, wrapped, extra=_ROUTING))


def _payload(msgtype: int, body: bytes, job: int) -> bytes:
    header = b"" if job == NO_JOB else _JOB_TAG + job.to_bytes(8, "little")
    return b"".join((_HEAD.pack(msgtype | PROTO_BIT, len(header)), header, body))


def _compressed(mode: str, msgtype: int, body: bytes, job: int) -> bytes:
    """Return the body of a CompressedMsgToClient; see the switch `gc_compressed`."""
    content = _payload(msgtype, body, job) if mode == "whole" else body
    compress = _COMPRESSIONS.get(mode, zlib.compress)
    return COMPRESSED.encode({"msg_id": msgtype | PROTO_BIT, "compressed_msg": compress(content)})


def answer(
    session: Session,
    msgtype: int,
    body: bytes,
    job: int,
    on_sent: OnSent | None = None,
) -> None:
    """Answer the session's last message, with the active faults applied.

    `gc_delay_ms` counts from the arrival of that message.
    """
    faults, name = session.context.faults, session.name
    delay = faults.take("gc_delay_ms", session.context.options.gc_delay_ms, account=name)
    if isinstance(delay, list):
        delay = session.context.rng.uniform(*delay)
    epoch, message = session.gc.epoch, (msgtype, body, job, on_sent)
    for _ in range(2 if faults.take("gc_duplicate", account=name) else 1):
        if delay:
            loop = asyncio.get_running_loop()
            loop.call_at(session.last_message_at + delay / 1000, _deliver, session, epoch, message)
        else:
            _deliver(session, epoch, message)


def _deliver(session: Session, epoch: int, message: _Answer) -> None:
    """Send an answer now, or hold it for reordering."""
    faults = session.context.faults
    batch_size = faults.take("gc_out_of_order", account=session.name)
    if batch_size:
        session.context.reordering.add(lambda: _send_answer(session, epoch, message), batch_size)
    else:
        _send_answer(session, epoch, message)


def _send_answer(session: Session, epoch: int, message: _Answer) -> None:
    if session.state is not SessionState.LOGGED_ON or session.gc.epoch != epoch:
        target = _stale_answer_target(session)
        if target is None:
            return
        session = target
    if session.context.faults.take("send_unknown_messages", account=session.name):
        for unknown in post_logon.unknown_messages(session):
            session.connection.send(unknown)
        session.connection.send(post_logon.unknown_notification(session))
        send(session, UNKNOWN_GC_MSG, b"\x08\x01")
    msgtype, body, job, on_sent = message
    if mode := session.context.faults.take("gc_compressed", account=session.name):
        body = _compressed(str(mode), msgtype, body, job)
        msgtype, job = GcMsg.COMPRESSED, NO_JOB if mode == "whole" else job
    # Taken before the send: the woken client may occupy the CPU first.
    sent_at = asyncio.get_running_loop().time()
    send(session, msgtype, body, job)
    if on_sent is not None:
        on_sent(sent_at)


def _stale_answer_target(session: Session) -> Session | None:
    """Return the session that receives the late answer of an ended session.

    None unless the switch `gc_stale_answers` is on.
    """
    if not session.context.faults.take("gc_stale_answers", account=session.name):
        return None
    later = [one for one in session.sessions.of_account(session.name or "") if one.gc.is_welcomed]
    return later[-1] if later else None
