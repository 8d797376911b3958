"""Hand-written envelopes compared with the libraries' classes, byte for byte."""

from __future__ import annotations

import pytest
from dota2.protobufs.dota_gcmessages_client_pb2 import CMsgGCMatchDetailsRequest
from dota2.protobufs.gcsdk_gcmessages_pb2 import CMsgClientHello
from steam.core.msg import MsgProto
from steam.core.msg.headers import GCMsgHdrProto
from steam.enums.emsg import EMsg
from steam.protobufs.steammessages_base_pb2 import CMsgProtoBufHeader
from steam.protobufs.steammessages_clientserver_2_pb2 import CMsgGCClient
from steam.utils.proto import set_proto_bit

from actors.steam.protocol.emsg import CLIENT_TO_GC, DOTA, GC_CLIENT_HELLO, GC_MATCH_DETAILS_REQUEST
from actors.steam.protocol.envelope import NO_JOB, build, parse
from actors.steam.protocol.gc_envelope import GcMessage, gc_message, gc_request, parse_gc
from actors.steam.protocol.wire import ParseError, content, fields, number, read_varint, varint

STEAM_ID = 76561197960287930
SESSION = 1234567


def library_message(msgtype: int, body: bytes, job: int | None) -> bytes:
    """Build a message to the GC only with the classes of `steam`."""
    inner = GCMsgHdrProto(set_proto_bit(msgtype))
    if job is not None:
        inner.proto.job_id_source = job
    outer = MsgProto(EMsg.ClientToGC)
    outer.header.steamid = STEAM_ID
    outer.header.client_sessionid = SESSION
    outer.header.routing_appid = DOTA
    outer.body.appid = DOTA
    outer.body.msgtype = set_proto_bit(msgtype)
    outer.body.payload = inner.serialize() + body
    return bytes(outer.serialize())


def our_head() -> bytes:
    header = CMsgProtoBufHeader(steamid=STEAM_ID, client_sessionid=SESSION, routing_appid=DOTA)
    return build(CLIENT_TO_GC, header) + b"\x08" + varint(DOTA)


@pytest.mark.parametrize("match_id", [1, 127, 128, 7490235544, 1_023_999_999_999, 2**64 - 1])
@pytest.mark.parametrize("job", [1, 0, 300, 2**63])
def test_a_match_request_is_the_bytes_that_the_libraries_make(match_id: int, job: int) -> None:
    body = CMsgGCMatchDetailsRequest(match_id=match_id).SerializeToString()
    assert gc_request(our_head(), GC_MATCH_DETAILS_REQUEST, match_id, job) == library_message(
        GC_MATCH_DETAILS_REQUEST, body, job
    )


def test_a_hello_to_the_gc_is_the_bytes_that_the_libraries_make() -> None:
    body = CMsgClientHello(client_session_need=104, engine=1).SerializeToString()
    assert gc_message(our_head(), GC_CLIENT_HELLO, body) == library_message(
        GC_CLIENT_HELLO, body, None
    )


def test_a_message_of_the_gc_made_by_the_libraries_is_understood() -> None:
    inner = GCMsgHdrProto(set_proto_bit(7096))
    inner.proto.job_id_target = 42
    inner.proto.client_steam_id = STEAM_ID
    body = CMsgGCClient(
        appid=DOTA,
        msgtype=set_proto_bit(7096),
        payload=inner.serialize() + b"the body",
        steamid=STEAM_ID,
    )
    assert parse_gc(body.SerializeToString()) == GcMessage(7096, 42, b"the body")


def test_a_gc_message_without_a_job_has_none() -> None:
    inner = GCMsgHdrProto(set_proto_bit(4004))
    body = CMsgGCClient(appid=DOTA, msgtype=set_proto_bit(4004), payload=inner.serialize())
    found = parse_gc(body.SerializeToString())
    assert found is not None
    assert found.job == NO_JOB


def test_a_gc_message_of_another_game_is_not_ours() -> None:
    body = CMsgGCClient(appid=730, msgtype=set_proto_bit(4004), payload=b"\0" * 8)
    assert parse_gc(body.SerializeToString()) is None


def test_a_gc_message_of_the_old_kind_keeps_its_payload() -> None:
    body = CMsgGCClient(appid=DOTA, msgtype=1064, payload=b"\1" * 20)
    assert parse_gc(body.SerializeToString()) == GcMessage(1064, NO_JOB, b"\1" * 20)


@pytest.mark.parametrize(
    "payload", [b"", b"\1\2\3", b"\0\0\0\0\xff\xff\xff\xff", b"\0\0\0\0\x05\0\0\0abcd"]
)
def test_a_gc_message_with_a_broken_header_is_an_error(payload: bytes) -> None:
    body = CMsgGCClient(appid=DOTA, msgtype=set_proto_bit(4004), payload=payload)
    with pytest.raises(ParseError):
        parse_gc(body.SerializeToString())


def test_a_whole_message_of_the_library_is_understood() -> None:
    sent = MsgProto(EMsg.ClientLogon)
    sent.header.steamid = STEAM_ID
    sent.header.client_sessionid = SESSION
    sent.header.jobid_target = 99
    sent.header.eresult = 5
    sent.body.account_name = "abaddon"
    (message,) = parse(bytes(sent.serialize()))
    assert (message.emsg, message.is_proto) == (5514, True)
    assert (message.steam_id, message.session_id) == (STEAM_ID, SESSION)
    assert (message.job_target, message.eresult) == (99, 5)
    assert message.body == sent.body.SerializeToString()


def test_a_header_without_job_and_result_has_their_defaults() -> None:
    (message,) = parse(build(703, CMsgProtoBufHeader()))
    assert (message.steam_id, message.session_id) == (0, 0)
    assert (message.job_target, message.eresult) == (NO_JOB, 2)


def test_a_negative_session_id_stays_one() -> None:
    """An int32 has ten bytes on the wire when negative, and fits into a header again."""
    (message,) = parse(build(751, CMsgProtoBufHeader(client_sessionid=-7, eresult=-1)))
    assert (message.session_id, message.eresult) == (-7, -1)
    CMsgProtoBufHeader(client_sessionid=message.session_id)


def test_a_number_beyond_64_bits_is_cut_as_the_library_cuts_it() -> None:
    ten_bytes = b"\xff" * 9 + b"\x7f"
    theirs = CMsgGCMatchDetailsRequest.FromString(b"\x08" + ten_bytes)
    assert fields(b"\x08" + ten_bytes)[1] == theirs.match_id == 2**64 - 1


def test_a_number_of_eleven_bytes_is_an_error() -> None:
    with pytest.raises(ParseError):
        read_varint(b"\xff" * 10 + b"\x01", 0)


@pytest.mark.parametrize(
    "data",
    [
        b"\x08",  # a tag without its value
        b"\x08\xff",  # a varint that never ends
        b"\x09\0\0\0",  # half a fixed64
        b"\x0d\0",  # half a fixed32
        b"\x0a\x05abc",  # longer than the message
        b"\x0b",  # a group
        b"\x0f",  # no wire type
    ],
)
def test_what_is_not_protobuf_is_an_error(data: bytes) -> None:
    with pytest.raises(ParseError):
        fields(data)


def test_a_field_of_another_type_than_expected_counts_as_absent() -> None:
    found = fields(b"\x08\x05\x12\x01a")
    assert (number(found, 2, 7), content(found, 1)) == (7, b"")
