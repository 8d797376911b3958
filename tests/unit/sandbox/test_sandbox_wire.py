"""The sandbox's protobuf codec, compared with Google's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steam.protobufs import steammessages_auth_pb2 as auth_pb
from steam.protobufs import steammessages_base_pb2 as base_pb

from sandbox.protocol import messages
from sandbox.protocol.wire import MessageType, WireError, field, read_varint, varint

INNER = MessageType(
    "Inner", field(1, "text", "string"), field(2, "numbers", "sint32", repeated=True)
)
EVERYTHING = MessageType(
    "Everything",
    field(1, "u32", "uint32"),
    field(2, "u64", "uint64"),
    field(3, "i32", "int32"),
    field(4, "i64", "int64"),
    field(5, "flag", "bool"),
    field(6, "f32", "fixed32"),
    field(7, "f64", "fixed64"),
    field(8, "real", "double"),
    field(9, "text", "string"),
    field(10, "blob", "bytes"),
    field(11, "inner", INNER),
    field(12, "inners", INNER, repeated=True),
    field(300, "many", "int32", repeated=True),
)


def ints(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    if signed:
        return st.integers(-(1 << bits - 1), (1 << bits - 1) - 1)
    return st.integers(0, (1 << bits) - 1)


inner = st.fixed_dictionaries(
    {}, optional={"text": st.text(), "numbers": st.lists(ints(32, signed=True), min_size=1)}
)
everything = st.fixed_dictionaries(
    {},
    optional={
        "u32": ints(32, signed=False),
        "u64": ints(64, signed=False),
        "i32": ints(32, signed=True),
        "i64": ints(64, signed=True),
        "flag": st.booleans(),
        "f32": ints(32, signed=False),
        "f64": ints(64, signed=False),
        "real": st.floats(allow_nan=False),
        "text": st.text(),
        "blob": st.binary(),
        "inner": inner,
        "inners": st.lists(inner, min_size=1),
        "many": st.lists(ints(32, signed=True), min_size=1),
    },
)


@given(everything)
def test_what_is_encoded_decodes_to_the_same(values: dict[str, Any]) -> None:
    assert EVERYTHING.decode(EVERYTHING.encode(values)) == values


@given(st.binary(max_size=64))
def test_any_bytes_decode_or_raise_a_wire_error(data: bytes) -> None:
    try:
        EVERYTHING.decode(data)
    except WireError:
        return


@given(ints(64, signed=False))
def test_a_varint_comes_back(number: int) -> None:
    assert read_varint(varint(number), 0) == (number, len(varint(number)))


@given(
    steamid=ints(64, signed=False),
    session=ints(32, signed=True),
    name=st.text(max_size=30),
    eresult=ints(32, signed=True),
)
def test_a_header_is_the_same_bytes_as_googles(
    steamid: int, session: int, name: str, eresult: int
) -> None:
    values = {
        "steamid": steamid,
        "client_sessionid": session,
        "target_job_name": name,
        "eresult": eresult,
    }
    theirs = base_pb.CMsgProtoBufHeader(**values)
    assert messages.HEADER.encode(values) == theirs.SerializeToString()
    assert messages.HEADER.decode(theirs.SerializeToString()) == values


def test_nested_and_repeated_messages_are_the_same_bytes_as_googles() -> None:
    values: dict[str, Any] = {
        "client_id": 1 << 62,
        "request_id": b"\0\xff",
        "interval": 0.5,
        "allowed_confirmations": [
            {"confirmation_type": 3},
            {"confirmation_type": 4, "associated_message": "x"},
        ],
        "steamid": 76561197960265729,
    }
    theirs = auth_pb.CAuthentication_BeginAuthSessionViaCredentials_Response(**values)
    assert messages.BEGIN_RESPONSE.encode(values) == theirs.SerializeToString()


def test_unknown_fields_are_skipped() -> None:
    data = (
        varint(900 << 3) + b"\x05" + EVERYTHING.encode({"u32": 7}) + varint(901 << 3 | 2) + b"\1x"
    )
    assert EVERYTHING.decode(data) == {"u32": 7}


def test_a_packed_repeated_scalar_is_read_too() -> None:
    packed = varint(300 << 3 | 2) + b"\x03" + varint(1) + varint(300)
    assert EVERYTHING.decode(packed) == {"many": [1, 300]}


def test_the_last_of_a_repeated_single_field_counts() -> None:
    assert EVERYTHING.decode(b"\x08\x01\x08\x02") == {"u32": 2}


@pytest.mark.parametrize(
    "data",
    [b"\x08", b"\x08\xff", b"\x4a\x05ab", b"\x35\x01", b"\x39\x01", b"\x0b", b"\x4a\x01\xff"],
)
def test_truncated_and_malformed_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        EVERYTHING.decode(data)


def test_a_name_that_the_message_type_lacks_is_an_error() -> None:
    with pytest.raises(KeyError, match="typo"):
        EVERYTHING.encode({"typo": 1})


def test_none_is_left_out() -> None:
    assert EVERYTHING.encode({"u32": None, "flag": True}) == b"\x28\x01"
