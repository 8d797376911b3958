"""The envelopes agree with the libraries; any bytes give values or ParseError."""

from __future__ import annotations

import gzip
import struct

import pytest
from dota2.protobufs.dota_gcmessages_client_pb2 import CMsgGCMatchDetailsRequest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from steam.core.msg.headers import GCMsgHdrProto
from steam.protobufs.steammessages_base_pb2 import CMsgMulti, CMsgProtoBufHeader
from steam.protobufs.steammessages_clientserver_2_pb2 import CMsgGCClient
from steam.utils.proto import set_proto_bit

from actors.steam.protocol.emsg import CLIENT_TO_GC, DOTA, GC_MATCH_DETAILS_REQUEST, MULTI
from actors.steam.protocol.envelope import NO_JOB, build, parse
from actors.steam.protocol.gc_envelope import GcMessage, gc_message, gc_request, parse_gc
from actors.steam.protocol.wire import ParseError, fields, int32, read_varint, varint

uint32 = st.integers(0, 2**32 - 1)
int32s = st.integers(-(2**31), 2**31 - 1)
uint64 = st.integers(0, 2**64 - 1)
emsg_numbers = st.integers(2, 2**31 - 1)


def header_from(steam_id: int, session_id: int) -> CMsgProtoBufHeader:
    return CMsgProtoBufHeader(steamid=steam_id, client_sessionid=session_id, routing_appid=DOTA)


@given(uint64)
def test_a_varint_is_the_librarys_and_comes_back(value: int) -> None:
    encoded = CMsgGCMatchDetailsRequest(match_id=value).SerializeToString()[1:]
    assert varint(value) == encoded
    assert read_varint(encoded, 0) == (value, len(encoded))


@given(st.binary(min_size=1, max_size=16))
def test_reading_a_varint_agrees_with_the_library(data: bytes) -> None:
    try:
        ours, end = read_varint(data, 0)
    except (IndexError, ParseError):
        with pytest.raises(DecodeError):
            CMsgGCMatchDetailsRequest.FromString(b"\x08" + data[:11])
    else:
        theirs = CMsgGCMatchDetailsRequest.FromString(b"\x08" + data[:end])
        assert ours == theirs.match_id


@given(int32s)
def test_an_int32_survives_its_ten_bytes(value: int) -> None:
    encoded = CMsgProtoBufHeader(client_sessionid=value).SerializeToString()
    found = fields(encoded)[2]
    assert isinstance(found, int)
    assert int32(found) == value


@given(
    emsg=emsg_numbers,
    steam_id=uint64,
    session_id=int32s,
    job=st.none() | uint64,
    eresult=st.none() | int32s,
    body=st.binary(),
)
def test_a_message_built_with_the_librarys_header_comes_back(
    *, emsg: int, steam_id: int, session_id: int, job: int | None, eresult: int | None, body: bytes
) -> None:
    header = CMsgProtoBufHeader(steamid=steam_id, client_sessionid=session_id)
    if job is not None:
        header.jobid_target = job
    if eresult is not None:
        header.eresult = eresult
    header.target_job_name = "Any.Name#1"
    (message,) = parse(build(emsg, header, body))
    assert (message.emsg, message.is_proto, message.body) == (emsg, True, body)
    assert (message.steam_id, message.session_id) == (steam_id, session_id)
    assert message.job_target == header.jobid_target
    assert message.eresult == header.eresult


@given(uint64, int32s, uint64, uint64)
def test_a_match_request_is_what_the_libraries_read_and_write(
    steam_id: int, session_id: int, match_id: int, job: int
) -> None:
    head = build(CLIENT_TO_GC, header_from(steam_id, session_id)) + b"\x08" + varint(DOTA)
    inner = GCMsgHdrProto(set_proto_bit(7095))
    inner.proto.job_id_source = job
    body = CMsgGCMatchDetailsRequest(match_id=match_id).SerializeToString()
    outer = CMsgGCClient(
        appid=DOTA, msgtype=set_proto_bit(7095), payload=inner.serialize() + body
    ).SerializeToString()
    expected = build(CLIENT_TO_GC, header_from(steam_id, session_id), outer)
    assert gc_request(head, GC_MATCH_DETAILS_REQUEST, match_id, job) == expected


@given(st.integers(0, 2**31 - 1), st.none() | uint64, st.binary())
def test_a_message_from_the_gc_made_by_the_libraries_comes_back(
    msgtype: int, job: int | None, body: bytes
) -> None:
    inner = GCMsgHdrProto(set_proto_bit(msgtype))
    if job is not None:
        inner.proto.job_id_target = job
    outer = CMsgGCClient(
        appid=DOTA, msgtype=set_proto_bit(msgtype), payload=inner.serialize() + body
    )
    expected = GcMessage(msgtype, NO_JOB if job is None else job, body)
    assert parse_gc(outer.SerializeToString()) == expected


@given(st.lists(st.tuples(emsg_numbers, st.binary(max_size=50)), max_size=20), st.booleans())
def test_a_multi_gives_back_what_was_put_in(
    contents: list[tuple[int, bytes]],
    zipped: bool,  # noqa: FBT001 - a drawn value
) -> None:
    parts = [build(emsg, CMsgProtoBufHeader(), body) for emsg, body in contents]
    plain = b"".join(struct.pack("<I", len(part)) + part for part in parts)
    body = CMsgMulti(message_body=plain)
    if zipped and plain:
        body = CMsgMulti(size_unzipped=len(plain), message_body=gzip.compress(plain))
    whole = build(MULTI, CMsgProtoBufHeader(), body.SerializeToString())
    assert [(one.emsg, one.body) for one in parse(whole)] == contents


# -- anything may come in ------------------------------------------------------------------------


def _good_messages() -> list[bytes]:
    inner = build(751, header_from(76561197960287930, -5), b"\x08\x01")
    struct_message = struct.pack("<IBHQQBQi", 782, 36, 2, 1, 2, 239, 3, 4) + b"body"
    plain = b"".join(struct.pack("<I", len(one)) + one for one in (inner, struct_message))
    zipped = CMsgMulti(size_unzipped=len(plain), message_body=gzip.compress(plain))
    stored = CMsgMulti(message_body=plain)
    multis = [
        build(MULTI, CMsgProtoBufHeader(), one.SerializeToString()) for one in (zipped, stored)
    ]
    return [inner, struct_message, *multis]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Valid messages with bytes changed, removed or inserted."""
    data = bytearray(draw(st.sampled_from(_good_messages())))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(["flip", "cut", "insert", "end"])):
            case "flip" if data:
                data[at] ^= draw(st.integers(1, 255))
            case "cut":
                del data[at : at + draw(st.integers(1, 8))]
            case "insert":
                data[at:at] = draw(st.binary(max_size=8))
            case _:
                del data[at:]
    return bytes(data)


@given(st.binary(max_size=300) | mutated())
def test_messages_of_any_bytes_are_messages_or_a_parse_error(data: bytes) -> None:
    try:
        messages = list(parse(data))
    except ParseError:
        return
    for message in messages:  # and the values fit into the library's header
        CMsgProtoBufHeader(steamid=message.steam_id, client_sessionid=message.session_id)


@given(st.binary(max_size=200))
def test_gc_messages_of_any_bytes_are_messages_or_a_parse_error(payload: bytes) -> None:
    kind = set_proto_bit(7096)
    body = CMsgGCClient(appid=DOTA, msgtype=kind, payload=payload).SerializeToString()
    for data in (payload, body):
        try:
            found = parse_gc(data)
        except ParseError:
            continue
        assert found is None or 0 <= found.job <= NO_JOB


@given(st.binary(max_size=200))
def test_fields_of_any_bytes_are_numbers_and_bytes_or_a_parse_error(data: bytes) -> None:
    try:
        found = fields(data)
    except ParseError:
        return
    assert all(isinstance(value, bytes) or 0 <= value < 2**64 for value in found.values())


@given(st.binary(max_size=60))
def test_what_the_library_reads_the_hand_written_reader_reads_too(data: bytes) -> None:
    """Only without groups: Steam sends none, and they are refused."""
    try:
        theirs = CMsgProtoBufHeader.FromString(data)
        found = fields(data)
    except Exception:  # noqa: BLE001 - the library raises all sorts; this is about what it accepts
        return
    if theirs.HasField("steamid") and isinstance(found.get(1), int):
        assert found[1] == theirs.steamid
    if theirs.HasField("jobid_target") and isinstance(found.get(11), int):
        assert found[11] == theirs.jobid_target


def test_gc_message_without_job_is_read_back() -> None:
    head = build(CLIENT_TO_GC, header_from(1, 2)) + b"\x08" + varint(DOTA)
    (message,) = parse(gc_message(head, 4006, b"hello"))
    assert parse_gc(message.body) == GcMessage(4006, NO_JOB, b"hello")
