"""Delivery of a GC answer: wrapped, delayed, reordered, duplicated.

On the hot path: the envelopes are put together from bytes by hand.
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
from sandbox.steam.session import Session, Stage

OnSent: TypeAlias = Callable[[float], None]  # when it went out, on the loop's clock
# message type, body, the job it answers, whom to tell
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
    """Send one GC message now; `job` is the client's GC job it answers."""
    payload = _payload(msgtype, body, job)
    number = varint(msgtype | PROTO_BIT)
    wrapped = b"".join((_APPID, _MSGTYPE_TAG, number, _PAYLOAD_TAG, varint(len(payload)), payload))
    session.link.send(session.wrapped(EMsg.FROM_GC, wrapped, extra=_ROUTING))


def _payload(msgtype: int, body: bytes, job: int) -> bytes:
    header = b"" if job == NO_JOB else _JOB_TAG + job.to_bytes(8, "little")
    return b"".join((_HEAD.pack(msgtype | PROTO_BIT, len(header)), header, body))


def _compressed(how: str, msgtype: int, body: bytes, job: int) -> bytes:
    """Return the body of a CompressedMsgToClient around a message; see the switch `gc_compressed`."""
    content = _payload(msgtype, body, job) if how == "whole" else body
    squeeze = _COMPRESSIONS.get(how, zlib.compress)
    return COMPRESSED.encode({"msg_id": msgtype | PROTO_BIT, "compressed_msg": squeeze(content)})


def answer(
    session: Session,
    msgtype: int,
    body: bytes,
    job: int,
    on_sent: OnSent | None = None,
) -> None:
    """Answer what the session has just said, as the faults of the moment want it.

    `gc_delay_ms` counts from the arrival of the question: what we need to read it is a part of it.
    """
    faults, name = session.services.faults, session.name
    delay = faults.take("gc_delay_ms", session.services.options.gc_delay_ms, account=name)
    if isinstance(delay, list):
        delay = session.services.rng.uniform(*delay)
    epoch, message = session.gc.epoch, (msgtype, body, job, on_sent)
    for _ in range(2 if faults.take("gc_duplicate", account=name) else 1):
        if delay:
            loop = asyncio.get_running_loop()
            loop.call_at(session.heard_at + delay / 1000, _deliver, session, epoch, message)
        else:
            _deliver(session, epoch, message)


def _deliver(session: Session, epoch: int, message: _Answer) -> None:
    """Send an answer unless the session it belongs to is over."""
    faults = session.services.faults
    together = faults.take("gc_out_of_order", account=session.name)
    if together:
        session.services.held.hold(lambda: _put_out(session, epoch, message), together)
    else:
        _put_out(session, epoch, message)


def _put_out(session: Session, epoch: int, message: _Answer) -> None:
    if session.stage is not Stage.LOGGED_ON or session.gc.epoch != epoch:
        heir = _heir(session)
        if heir is None:
            return
        session = heir
    if session.services.faults.take("send_unknown_messages", account=session.name):
        for unknown in post_logon.unknown(session):
            session.link.send(unknown)
        session.link.send(post_logon.notification(session))
        send(session, UNKNOWN_GC_MSG, b"\x08\x01")
    msgtype, body, job, on_sent = message
    if how := session.services.faults.take("gc_compressed", account=session.name):
        body = _compressed(str(how), msgtype, body, job)
        msgtype, job = GcMsg.COMPRESSED, NO_JOB if how == "whole" else job
    # Before it is sent: whom it wakes may take the CPU from us at once.
    sent_at = asyncio.get_running_loop().time()
    send(session, msgtype, body, job)
    if on_sent is not None:
        on_sent(sent_at)


def _heir(session: Session) -> Session | None:
    """Return the session that gets the late answer of a session that has ended.

    That is None unless the switch `gc_stale_answers` is on.
    """
    if not session.services.faults.take("gc_stale_answers", account=session.name):
        return None
    later = [one for one in session.sessions.of(session.name or "") if one.gc.is_welcomed]
    return later[-1] if later else None
