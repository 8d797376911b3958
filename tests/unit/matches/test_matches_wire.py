"""Wire format beyond the schema: merging, packing, unknown fields, garbage."""

from __future__ import annotations

import struct

import pytest

from actors.matches.protobuf.decoder import MAX_COUNTED, MatchDecoder
from actors.matches.protobuf.wire import DecodeError
from sandbox.gc.matches.catalogue import Catalogue
from sandbox.gc.matches.schema import encode_response

MATCH, PLAYERS, TOWERS = 2, 5, 8  # field numbers


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number: int, kind: int, content: bytes) -> bytes:
    return varint(number << 3 | kind) + content


def nested(number: int, content: bytes) -> bytes:
    return field(number, 2, varint(len(content)) + content)


def decode(body: bytes) -> dict[str, object]:
    return MatchDecoder().decode(body).fields


def test_packed_and_unpacked_numbers_are_the_same() -> None:
    unpacked = field(TOWERS, 0, varint(1975)) + field(TOWERS, 0, varint(4))
    packed = nested(TOWERS, varint(1975) + varint(4))
    expected = {"match": {"tower_status": [1975, 4]}}
    assert decode(nested(MATCH, unpacked)) == decode(nested(MATCH, packed)) == expected
    assert decode(nested(MATCH, nested(TOWERS, b""))) == {"match": {}}


def test_of_a_repeated_scalar_the_last_one_counts() -> None:
    assert decode(field(1, 0, varint(2)) + field(1, 0, varint(1))) == {"result": 1}


def test_a_message_that_comes_twice_is_merged() -> None:
    first = nested(MATCH, field(10, 0, varint(153)) + nested(PLAYERS, field(1, 0, varint(7))))
    second = nested(MATCH, field(6, 0, varint(5)) + nested(PLAYERS, field(1, 0, varint(8))))
    assert decode(first + second) == {
        "match": {
            "cluster": 153,
            "players": [{"account_id": 7}, {"account_id": 8}],
            "match_id": "5",
        }
    }


def test_negative_and_unknown_numbers_keep_their_value() -> None:
    minus_one = varint((1 << 64) - 1)
    player = field(4, 0, minus_one) + field(80, 0, varint(77))
    assert decode(nested(MATCH, nested(PLAYERS, player) + field(50, 0, varint(99)))) == {
        "match": {"players": [{"item_0": -1, "team_number": 77}], "match_outcome": 99}
    }


def test_a_name_that_is_not_utf8_is_mended() -> None:
    body = nested(MATCH, nested(PLAYERS, nested(29, b"a\xff")))
    assert decode(body) == {"match": {"players": [{"player_name": "a\ufffd"}]}}


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"\x00\x00\xc0\x7f", "NaN"),
        (b"\x00\x00\x80\x7f", "Infinity"),
        (b"\x00\x00\x80\xff", "-Infinity"),
        (struct.pack("<f", 0.1), 0.1),
        (struct.pack("<f", 16777217), 16777216.0),
        (b"\xff\xff\x7f\x7f", 3.4028235e38),  # the largest; rounded down further it is another
        (b"\x01\x00\x00\x00", 1.4013e-45),  # the smallest; six digits at least, as protobuf has it
    ],
)
def test_a_float_is_a_short_decimal_or_a_word(raw: bytes, shown: float | str) -> None:
    assert decode(nested(MATCH, nested(PLAYERS, field(11, 5, raw)))) == {
        "match": {"players": [{"scaled_metric": shown}]}
    }


def test_what_the_schema_does_not_know_is_skipped_and_counted() -> None:
    group = field(900, 3, field(1, 0, varint(5)) + nested(2, b"xx") + field(900, 4, b""))
    strangers = [
        field(901, 0, varint(5)),
        field(902, 1, b"12345678"),
        nested(903, b"anything"),
        field(904, 5, b"1234"),
        group,
    ]
    player = b"".join(strangers) + field(1, 0, varint(7))
    decoder = MatchDecoder()
    for _ in range(2):
        fields = decoder.decode(nested(MATCH, nested(PLAYERS, player))).fields
        assert fields == {"match": {"players": [{"account_id": 7}]}}
    assert dict(decoder.unknown) == {f"CMsgDOTAMatch.Player#{n}": 2 for n in range(900, 905)}


def test_a_known_field_of_another_wire_type_is_unknown() -> None:
    decoder = MatchDecoder()
    assert decoder.decode(nested(1, b"text")).fields == {}
    assert decoder.unknown["CMsgGCMatchDetailsResponse#1"] == 1


def test_corrupt_answers_do_not_grow_the_table_of_unknown_fields() -> None:
    decoder = MatchDecoder()
    for number in range(1000, 3000):
        decoder.decode(field(number, 0, b"\x01"))
    assert len(decoder.unknown) <= MAX_COUNTED + 1


@pytest.mark.parametrize(
    "body",
    [
        b"\x08",  # a tag and nothing else
        b"\x08" + b"\xff" * 11,  # a number that does not end
        nested(MATCH, b"")[:-1] + b"\x05",  # longer than the whole
        varint(MATCH << 3 | 2) + varint(1 << 60),
        field(0, 0, b"\x01"),
        field(900, 3, b""),  # a group without an end
        field(900, 4, b""),  # an end without a group
        field(900, 6, b""),
        nested(MATCH, field(4, 5, b"123")),
        nested(MATCH, nested(TOWERS, b"\x80")),
        b"\x0b" * 5000,  # groups in groups
    ],
)
def test_garbage_is_one_kind_of_error(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(body)


def test_an_answer_cut_anywhere_is_an_error_or_a_shorter_answer() -> None:
    body = Catalogue(0).answer(7490235544)[1]
    whole = decode(body)
    decoder = MatchDecoder()
    for length in range(len(body)):
        try:
            fields = decoder.decode(body[:length]).fields
        except DecodeError:
            continue
        assert fields.items() <= whole.items()


def test_an_error_result_has_no_match() -> None:
    details = MatchDecoder().decode(encode_response({"result": 15}))
    assert (details.result, details.match_id, details.fields) == (15, None, {"result": 15})
