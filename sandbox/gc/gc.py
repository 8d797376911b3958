"""Game Coordinator: hello and welcome, match details, silence.

The GC speaks inside Steam's messages 5452 and 5453 and has job ids of its own. It answers a session
only while that session plays Dota 2, is licensed for it and was welcomed.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

from sandbox.gc import delivery, player_queries, welcome
from sandbox.gc import messages as gc_messages
from sandbox.gc.quota import Verdict
from sandbox.protocol.emsg import DOTA, PROTO_BIT, GcMsg, GcStatus
from sandbox.protocol.envelope import NO_JOB, Message
from sandbox.protocol.wire import WireError, varint
from sandbox.steam.games_played import lose_gc
from sandbox.steam.session import Session, Stage

PING_EVERY_S: Final = 60.0
PINGS_NEGLECTED: Final = 55  # unanswered pings may be what silences sessions after about an hour
_QUEUE: Final = ("queue_position", "queue_size", "wait_seconds")
_HEAD: Final = struct.Struct("<Ii")
_PADDING: Final = varint(1000 << 3 | 2)  # the tag of a field of bytes that no schema has


def on_to_gc(session: Session, message: Message) -> None:
    """Unwrap a message to the GC and serve it."""
    wrapped = gc_messages.GC_CLIENT.decode(message.body)
    number = wrapped.get("msgtype", 0)
    if wrapped.get("appid") != DOTA or message.header.get("routing_appid") != DOTA:
        _note(session, number & ~PROTO_BIT, "not_routed")
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
        _note(session, number & ~PROTO_BIT, "unknown")
        return
    handler(session, payload[end:], header.get("job_id_source", NO_JOB))


def _on_hello(session: Session, body: bytes, job: int) -> None:
    del body, job  # an empty hello is as good as a full one
    services = session.services
    faults, name = services.faults, session.name or ""
    outcome = "welcomed"
    if DOTA not in session.apps or not session.is_playing:
        outcome = "not_playing"
    elif name not in services.licensed:
        outcome = "no_license"
    elif _is_early(session) or faults.take("lose_hellos", account=name):
        outcome = "lost"
    elif (down := faults.take("gc_down", account=name)) is not None:
        outcome = "gc_down"
        _turn_away(session, down)
    services.journal.add("gc_hello", account=name, session=session.session_id, outcome=outcome)
    if outcome == "welcomed":
        delay_s = services.options.welcome_delay_ms / 1000
        epoch = session.gc.epoch
        asyncio.get_running_loop().call_later(delay_s, _welcome, session, epoch)


def _is_early(session: Session) -> bool:
    """Return whether Steam has not connected the game to the GC yet."""
    return asyncio.get_running_loop().time() < session.gc.starts_at


def _turn_away(session: Session, how: object) -> None:
    """Answer a hello while the GC is down."""
    if how == "silent":
        return
    status = {"going_down": GcStatus.GC_GOING_DOWN, "queue": GcStatus.IN_LOGON_QUEUE}
    numbers = {"queue_position": 42, "queue_size": 1000, "wait_seconds": 5}
    session.gc.is_queued = how == "queue"
    send_status(session, status.get(str(how), GcStatus.NO_SESSION), numbers)


def welcome_unasked(session: Session) -> None:
    """Welcome a session that plays, as the GC does after a restart or when the queue moves on."""
    if DOTA in session.apps and session.is_playing and session.name in session.services.licensed:
        _welcome(session, session.gc.epoch)


def let_in(session: Session) -> None:
    """Welcome a session that waited in the queue."""
    if session.gc.is_queued:
        session.gc.is_queued = False
        welcome_unasked(session)


def _welcome(session: Session, epoch: int) -> None:
    if session.stage is not Stage.LOGGED_ON or session.gc.epoch != epoch:
        return
    account = session.account
    services = session.services
    account_id = account.account_id if account else 0
    body = welcome.body(account_id, services.options.seed, services.now())
    session.gc.is_welcomed = True
    session.gc.pings_unanswered = 0
    session.services.journal.add(
        "gc_welcome", account=session.name, session=session.session_id, size=len(body)
    )
    delivery.send(session, GcMsg.WELCOME, body)
    if session.gc.timer is None:
        _schedule_ping(session)


def _schedule_ping(session: Session) -> None:
    every = session.services.faults.take("gc_ping_every_s", PING_EVERY_S, account=session.name)
    loop = asyncio.get_running_loop()
    session.gc.timer = loop.call_later(every, _ping, session, session.gc.epoch)


def _ping(session: Session, epoch: int) -> None:
    if session.gc.epoch != epoch or session.stage is not Stage.LOGGED_ON:
        return
    if session.gc.pings_unanswered >= PINGS_NEGLECTED:
        lose_gc(session, "pings_neglected")  # silently: the client is not told
        return
    session.gc.pings_unanswered += 1
    delivery.send(session, GcMsg.PING_REQUEST, b"")
    _schedule_ping(session)


def _on_ping_response(session: Session, body: bytes, job: int) -> None:
    del body, job
    session.gc.pings_unanswered = 0


def _on_match_details(session: Session, body: bytes, job: int) -> None:
    match_id = gc_messages.MATCH_REQUEST.decode(body).get("match_id", 0)
    services, name = session.services, session.name or ""
    answer = None
    if not session.gc.is_welcomed:
        outcome = "silent_no_session"
    else:
        now = services.now()
        verdict = services.quotas.spend(name, session.link.source, now)
        outcome = str(verdict)
        if verdict is Verdict.SERVED:
            outcome, answer = _looked_up(session, match_id, job)
    services.journal.add(
        "match_request",
        account=name,
        match_id=match_id,
        outcome=outcome,
        session=session.session_id,
        source=session.link.source,
    )
    if answer is None:
        return
    heard_at = session.heard_at

    def on_sent(at: float) -> None:
        took_s = round(at - heard_at, 6)
        services.journal.add("match_answer", account=name, match_id=match_id, took_s=took_s)

    delivery.answer(session, GcMsg.MATCH_DETAILS_RESPONSE, answer, job, on_sent)


def _looked_up(session: Session, match_id: int, job: int) -> tuple[str, bytes | None]:
    """Return outcome and answer of a request that the quotas let pass."""
    services, name = session.services, session.name
    if services.faults.take("gc_silent", account=name):
        return "silent_fault", None
    if (how := services.faults.take("gc_drop_requests", account=name)) is not None:
        named = NO_JOB if how == "no_job" else job
        delivery.send(session, GcMsg.REQUEST_DROPPED, b"", named)
        return "silent_dropped", None
    result = services.faults.take("gc_result", account=name)
    if result is not None:
        return f"result_{result}", services.catalogue.refusal(result)
    other = bool(services.faults.take("gc_other_match", account=name))
    outcome, answer = services.catalogue.answer(match_id + other)
    return outcome, _spoilt(session, answer)


def _spoilt(session: Session, answer: bytes) -> bytes:
    """Return an answer as the faults of the moment want it."""
    faults, name = session.services.faults, session.name
    if faults.take("gc_garbled", account=name):
        return answer[: len(answer) // 2]
    if kilobytes := faults.take("gc_answer_kb", account=name):
        answer += _PADDING + varint(kilobytes * 1024) + bytes(kilobytes * 1024)
    return answer


def send_status(session: Session, status: int, numbers: Mapping[str, Any] | None = None) -> None:
    """Tell a client how it stands with the GC; `numbers` of the queue go along with status 3."""
    values: dict[str, Any] = {"status": int(status)}
    if status == GcStatus.IN_LOGON_QUEUE:
        values |= {name: number for name, number in (numbers or {}).items() if name in _QUEUE}
    body = gc_messages.CONNECTION_STATUS.encode(values)
    delivery.send(session, GcMsg.CONNECTION_STATUS, body)


def take_down(session: Session) -> None:
    """Take the GC session away, as a GC restart does."""
    down = session.services.faults.take("gc_down", account=session.name)
    if session.gc.is_welcomed:
        lose_gc(session, "gc_down")
        _turn_away(session, down)


def _note(session: Session, number: int, outcome: str) -> None:
    session.services.journal.add(
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
