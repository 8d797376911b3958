"""Game Coordinator: hello, welcome, pings and match details.

The GC's messages are inside Steam's messages 5452 and 5453 and have job ids of their own. The GC answers
a session only while it plays Dota 2, has the licence and was welcomed.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

from sandbox.gc import delivery, player_queries, welcome
from sandbox.gc import messages as gc_messages
from sandbox.gc.quota import QuotaResult
from sandbox.protocol.emsg import DOTA, PROTO_BIT, GcMsg, GcStatus
from sandbox.protocol.envelope import NO_JOB, Message
from sandbox.protocol.wire import WireError, varint
from sandbox.steam.games_played import end_gc_session
from sandbox.steam.session import Session, SessionState

PING_EVERY_S: Final = 60.0
PINGS_NEGLECTED: Final = 55  # real sessions end after about an hour, probably for this reason
_QUEUE: Final = ("queue_position", "queue_size", "wait_seconds")
_HEAD: Final = struct.Struct("<Ii")
_PADDING: Final = varint(1000 << 3 | 2)  # the tag of a bytes field that no schema has


def on_to_gc(session: Session, message: Message) -> None:
    """Decode a message to the GC and handle it."""
    wrapped = gc_messages.GC_CLIENT.decode(message.body)
    number = wrapped.get("msgtype", 0)
    if wrapped.get("appid") != DOTA or message.header.get("routing_appid") != DOTA:
        _record(session, number & ~PROTO_BIT, "not_routed")
        return
    payload = wrapped.get("payload", b"")
    if not number & PROTO_BIT or len(payload) < _HEAD.size:
        return
    inner, size = _HEAD.unpack_from(payload)
    end = _HEAD.size + size
    if inner != number or not _HEAD.size <= end <= len(payload):
        raise WireError("GC header")
    header = gc_messages.GC_HEADER.decode(payload[_HEAD.size : end])
    handler = HANDLERS.get(number & ~PROTO_BIT)
    if handler is None:
        _record(session, number & ~PROTO_BIT, "unknown")
        return
    handler(session, payload[end:], header.get("job_id_source", NO_JOB))


def _on_hello(session: Session, body: bytes, job: int) -> None:
    del body, job  # an empty hello is valid
    context = session.context
    faults, name = context.faults, session.name or ""
    outcome = "welcomed"
    if DOTA not in session.apps or not session.is_playing:
        outcome = "not_playing"
    elif name not in context.licensed:
        outcome = "no_license"
    elif _is_early(session) or faults.take("lose_hellos", account=name):
        outcome = "lost"
    elif (down := faults.take("gc_down", account=name)) is not None:
        outcome = "gc_down"
        _refuse_hello(session, down)
    context.journal.add("gc_hello", account=name, session=session.session_id, outcome=outcome)
    if outcome == "welcomed":
        delay_s = context.options.welcome_delay_ms / 1000
        epoch = session.gc.epoch
        asyncio.get_running_loop().call_later(delay_s, _welcome, session, epoch)


def _is_early(session: Session) -> bool:
    """Return whether the game is not connected to the GC yet."""
    return asyncio.get_running_loop().time() < session.gc.starts_at


def _refuse_hello(session: Session, mode: object) -> None:
    """Answer a hello while the GC is down."""
    if mode == "silent":
        return
    status = {"going_down": GcStatus.GC_GOING_DOWN, "queue": GcStatus.IN_LOGON_QUEUE}
    numbers = {"queue_position": 42, "queue_size": 1000, "wait_seconds": 5}
    session.gc.is_queued = mode == "queue"
    send_status(session, status.get(str(mode), GcStatus.NO_SESSION), numbers)


def push_welcome(session: Session) -> None:
    """Welcome a playing session unasked, as the GC does after a restart."""
    if DOTA in session.apps and session.is_playing and session.name in session.context.licensed:
        _welcome(session, session.gc.epoch)


def admit_queued(session: Session) -> None:
    """Welcome a session that waits in the log-on queue."""
    if session.gc.is_queued:
        session.gc.is_queued = False
        push_welcome(session)


def _welcome(session: Session, epoch: int) -> None:
    if session.state is not SessionState.LOGGED_ON or session.gc.epoch != epoch:
        return
    account = session.account
    context = session.context
    account_id = account.account_id if account else 0
    body = welcome.encode_welcome(account_id, context.options.seed, context.now())
    session.gc.is_welcomed = True
    session.gc.pings_unanswered = 0
    session.context.journal.add(
        "gc_welcome", account=session.name, session=session.session_id, size=len(body)
    )
    delivery.send(session, GcMsg.WELCOME, body)
    if session.gc.timer is None:
        _schedule_ping(session)


def _schedule_ping(session: Session) -> None:
    every = session.context.faults.take("gc_ping_every_s", PING_EVERY_S, account=session.name)
    loop = asyncio.get_running_loop()
    session.gc.timer = loop.call_later(every, _ping, session, session.gc.epoch)


def _ping(session: Session, epoch: int) -> None:
    if session.gc.epoch != epoch or session.state is not SessionState.LOGGED_ON:
        return
    if session.gc.pings_unanswered >= PINGS_NEGLECTED:
        end_gc_session(session, "pings_neglected")  # the client gets no message about it
        return
    session.gc.pings_unanswered += 1
    delivery.send(session, GcMsg.PING_REQUEST, b"")
    _schedule_ping(session)


def _on_ping_response(session: Session, body: bytes, job: int) -> None:
    del body, job
    session.gc.pings_unanswered = 0


def _on_match_details(session: Session, body: bytes, job: int) -> None:
    match_id = gc_messages.MATCH_REQUEST.decode(body).get("match_id", 0)
    context, name = session.context, session.name or ""
    answer = None
    if not session.gc.is_welcomed:
        outcome = "silent_no_session"
    else:
        now = context.now()
        result = context.quotas.spend(name, session.connection.source, now)
        outcome = str(result)
        if result is QuotaResult.SERVED:
            outcome, answer = _look_up(session, match_id, job)
    context.journal.add(
        "match_request",
        account=name,
        match_id=match_id,
        outcome=outcome,
        session=session.session_id,
        source=session.connection.source,
    )
    if answer is None:
        return
    received_at = session.last_message_at

    def on_sent(at: float) -> None:
        took_s = round(at - received_at, 6)
        context.journal.add("match_answer", account=name, match_id=match_id, took_s=took_s)

    delivery.answer(session, GcMsg.MATCH_DETAILS_RESPONSE, answer, job, on_sent)


def _look_up(session: Session, match_id: int, job: int) -> tuple[str, bytes | None]:
    """Return outcome and answer of a request within the quotas."""
    context, name = session.context, session.name
    if context.faults.take("gc_silent", account=name):
        return "silent_fault", None
    if (mode := context.faults.take("gc_drop_requests", account=name)) is not None:
        named = NO_JOB if mode == "no_job" else job
        delivery.send(session, GcMsg.REQUEST_DROPPED, b"", named)
        return "silent_dropped", None
    result = context.faults.take("gc_result", account=name)
    if result is not None:
        return f"result_{result}", context.catalogue.refusal(result)
    other = bool(context.faults.take("gc_other_match", account=name))
    outcome, answer = context.catalogue.answer(match_id + other)
    return outcome, _apply_answer_faults(session, answer)


def _apply_answer_faults(session: Session, answer: bytes) -> bytes:
    """Return an answer with the active faults applied."""
    faults, name = session.context.faults, session.name
    if faults.take("gc_garbled", account=name):
        return answer[: len(answer) // 2]
    if kilobytes := faults.take("gc_answer_kb", account=name):
        answer += _PADDING + varint(kilobytes * 1024) + bytes(kilobytes * 1024)
    return answer


def send_status(session: Session, status: int, numbers: Mapping[str, Any] | None = None) -> None:
    """Send ConnectionStatus; `numbers` describe the log-on queue of status 3."""
    values: dict[str, Any] = {"status": int(status)}
    if status == GcStatus.IN_LOGON_QUEUE:
        values |= {name: number for name, number in (numbers or {}).items() if name in _QUEUE}
    body = gc_messages.CONNECTION_STATUS.encode(values)
    delivery.send(session, GcMsg.CONNECTION_STATUS, body)


def take_down(session: Session) -> None:
    """End the GC session, as a GC restart does."""
    down = session.context.faults.take("gc_down", account=session.name)
    if session.gc.is_welcomed:
        end_gc_session(session, "gc_down")
        _refuse_hello(session, down)


def _record(session: Session, number: int, outcome: str) -> None:
    session.context.journal.add(
        "gc_request",
        account=session.name,
        session=session.session_id,
        msgtype=int(number),
        outcome=outcome,
    )


HANDLERS: Final[Mapping[int, Callable[[Session, bytes, int], None]]] = {
    GcMsg.HELLO: _on_hello,
    GcMsg.PING_RESPONSE: _on_ping_response,
    GcMsg.MATCH_DETAILS: _on_match_details,
    GcMsg.PROFILE_CARD: player_queries.on_profile_card,
}
