"""Multi messages: no valid part is lost, and the limits hold."""

from __future__ import annotations

import contextlib
import gzip
import struct
import time
import tracemalloc
from collections.abc import Iterable

import pytest
from steam.protobufs.steammessages_base_pb2 import CMsgMulti, CMsgProtoBufHeader

from actors.steam.protocol import envelope
from actors.steam.protocol.emsg import MULTI
from actors.steam.protocol.envelope import MAX_DECODED, MAX_MESSAGE, MAX_PARTS, build, decode, parse
from actors.steam.protocol.wire import ParseError


def one(emsg: int, body: bytes = b"") -> bytes:
    return build(emsg, CMsgProtoBufHeader(), body)


def framed(messages: Iterable[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(message)) + message for message in messages)


def multi(messages: Iterable[bytes], *, zipped: bool = True) -> bytes:
    plain = framed(messages)
    if not zipped:
        return one(MULTI, CMsgMulti(message_body=plain).SerializeToString())
    body = CMsgMulti(size_unzipped=len(plain), message_body=gzip.compress(plain))
    return one(MULTI, body.SerializeToString())


def raw_multi(size: int, body: bytes) -> bytes:
    return one(MULTI, CMsgMulti(size_unzipped=size, message_body=body).SerializeToString())


def emsgs(data: bytes) -> list[int]:
    return [message.emsg for message in parse(data)]


@pytest.mark.parametrize("zipped", [True, False])
def test_the_messages_come_in_their_order(zipped: bool) -> None:  # noqa: FBT001 - a parameter
    assert emsgs(multi([one(5501), one(751), one(768), one(751)], zipped=zipped)) == [
        5501,
        751,
        768,
        751,
    ]


def test_unknown_numbers_do_not_cost_their_neighbours() -> None:
    assert emsgs(multi([one(9808), one(65000), one(751), one(0x7FFFFFFF)])) == [
        9808,
        65000,
        751,
        0x7FFFFFFF,
    ]


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"\1\2\3",
        struct.pack("<II", 751 | 0x80000000, 0x7FFFFFFF)
        + b"abc",  # a header longer than its message
        struct.pack("<II", 751 | 0x80000000, 2) + b"\x08\xff",  # a header that is no protobuf
        struct.pack("<I", 782) + b"\0" * 10,  # a truncated struct header
        raw_multi(5, b"no gzip"),
    ],
)
def test_a_broken_message_does_not_cost_its_neighbours(broken: bytes) -> None:
    assert emsgs(multi([one(5501), broken, one(751)])) == [5501, 751]


def test_a_struct_message_between_others_is_understood() -> None:
    head = struct.pack("<IBHQQBQi", 782, 36, 2, 11, 12, 239, 76561197960287930, 5)
    _, struct_message, _ = parse(multi([one(5501), head + b"body", one(751)]))
    assert (struct_message.emsg, struct_message.is_proto) == (782, False)
    assert (struct_message.job_target, struct_message.session_id) == (11, 5)
    assert (struct_message.steam_id, struct_message.body) == (76561197960287930, b"body")


def test_a_multi_in_a_multi_is_opened_in_place() -> None:
    assert emsgs(multi([one(2), multi([one(3), one(4)]), one(5)])) == [2, 3, 4, 5]


def test_nesting_ends_somewhere_without_cost_to_the_neighbours() -> None:
    deep = one(703)
    for _ in range(50):
        deep = multi([deep], zipped=False)
    assert emsgs(multi([one(2), deep, one(5)])) == [2, 5]


def test_messages_before_a_broken_frame_are_not_lost() -> None:
    plain = framed([one(751)]) + struct.pack("<I", 1000) + b"short"
    messages = parse(raw_multi(0, plain))
    assert next(messages).emsg == 751
    with pytest.raises(ParseError):
        next(messages)


@pytest.mark.parametrize("wrong", [-1, 1, 1000])
def test_another_size_than_announced_is_an_error(wrong: int) -> None:
    plain = framed([one(751)])
    with pytest.raises(ParseError):
        emsgs(raw_multi(len(plain) + wrong, gzip.compress(plain)))


def test_a_gzip_cut_short_is_an_error() -> None:
    plain = framed([one(751)])
    with pytest.raises(ParseError):
        emsgs(raw_multi(len(plain), gzip.compress(plain)[:-3]))


def test_a_size_beyond_the_limit_is_an_error_before_anything_is_unzipped() -> None:
    with pytest.raises(ParseError):
        emsgs(raw_multi(MAX_MESSAGE + 1, gzip.compress(b"")))


def test_a_bomb_is_not_unzipped_further_than_announced() -> None:
    bomb = raw_multi(1000, gzip.compress(bytes(8_000_000)))
    tracemalloc.start()
    try:
        with pytest.raises(ParseError):
            emsgs(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200_000


def test_bombs_in_a_row_do_not_unzip_more_than_one_message_may_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise 16 MB of small bombs, 16 MB each, would block the hub for a minute."""
    monkeypatch.setattr(envelope, "MAX_MESSAGE", 10_000)
    unzipped = []
    real = envelope._Parser._unzip

    def spy(parser: envelope._Parser, body: bytes) -> bytes:
        plain = real(parser, body)
        unzipped.append(len(plain))
        return plain

    monkeypatch.setattr(envelope._Parser, "_unzip", spy)
    bombs = [multi([one(703, bytes(4_000))]) for _ in range(20)]
    emsgs(multi(bombs))
    assert sum(unzipped) <= 2 * 10_000


def bomb(plain: bytes) -> bytes:
    """Wrap `plain`, at most MAX_MESSAGE bytes, into a Multi of some kilobytes."""
    plain = plain[:MAX_MESSAGE]
    body = CMsgMulti(size_unzipped=len(plain), message_body=gzip.compress(plain))
    return one(MULTI, body.SerializeToString())


def one_part(data: bytes) -> bytes:
    data = data[: MAX_MESSAGE - 4]
    return struct.pack("<I", len(data)) + data


FIELD = b"\x08\x00"
PROTO_MULTI = struct.pack("<II", MULTI | 0x80000000, 0)


@pytest.mark.parametrize(
    "plain",
    [
        framed([one(751)]) * (MAX_MESSAGE // 12),  # 1.4 million messages
        bytes(MAX_MESSAGE),  # 4 million parts of no bytes
        framed([multi([one(751)] * 100)]) * 20_000,
        framed([multi([multi([one(751)] * 100)] * 100)] * 20),
        one_part(
            struct.pack("<II", 751 | 0x80000000, MAX_MESSAGE - 12) + FIELD * (MAX_MESSAGE // 2)
        ),
        one_part(PROTO_MULTI + FIELD * (MAX_MESSAGE // 2)),
    ],
    ids=["messages", "empty", "multis", "nested", "header", "frame"],
)
def test_no_small_message_holds_the_hub(plain: bytes) -> None:
    data, begun = bomb(plain), time.thread_time()
    assert len(data) < 64 * 1024
    seen = 0
    with contextlib.suppress(ParseError):
        for _ in parse(data):
            seen += 1
    assert seen <= MAX_PARTS
    assert time.thread_time() - begun < 0.5


def test_too_many_messages_are_an_error_behind_those_that_fit() -> None:
    assert len(emsgs(multi([one(751)] * MAX_PARTS))) == MAX_PARTS
    inner = multi([one(751)] * MAX_PARTS)
    messages = parse(multi([one(5501), inner, one(768)]))
    assert next(messages).emsg == 5501
    with pytest.raises(ParseError, match="too many"):
        list(messages)


def test_a_body_for_the_slow_parser_is_bounded() -> None:
    with pytest.raises(ParseError, match="too large"):
        decode(CMsgMulti, FIELD * MAX_DECODED)
