"""However a connection's bytes are cut, each request has its own response, in order, and no more.

Nothing may make the service take the middle of a body, or of a head, for a request.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from hypothesis import event, example, given
from hypothesis import strategies as st
from support.fake_clock import FakeClock
from support.pipeline_env import PipelineEnv, known_match

PLAIN = b"GET /matches/%d HTTP/1.1\r\nHost: x\r\n\r\n"
ASKED = st.sampled_from((5, 6))
# What could be taken for the beginning or the end of something.
PIECES = st.sampled_from((b"\r\n\r\n", b"\r\n", b"a", PLAIN % 6, b"GET /matches/6 HTTP/1.1\r\n"))

TRAP = b"X-Trap: " + PLAIN[:-2] % 6  # a header; cut before its value, that looks like a request


class Request(NamedTuple):
    """One request."""

    data: bytes
    answer: bytes  # its body
    at: tuple[int, ...] = ()  # where it is cut, from its beginning; behind its end: it is not


def match_asked(match_id: int, more: bytes = b"") -> Request:
    first = b"GET /matches/%d HTTP/1.1\r\n" % match_id
    return Request(first + (more or b"Host: x\r\n") + b"\r\n", b'{"id":%d}' % match_id)


def echo(body: bytes) -> Request:
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    return Request(head + body, body)


def echo_in_chunks(pieces: Sequence[bytes]) -> Request:
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    return Request(head + b"".join(chunks) + b"0\r\n\r\n", b"".join(pieces))


def refused(match_id: int) -> Request:
    return Request(b"GET /nothing/%d HTTP/1.1\r\nHost: x\r\n\r\n" % match_id, b"")


def tempting(request: Request) -> list[int]:
    """Return where a cut makes the rest look like a request, or what came before like its end."""
    return [found.start() for found in re.finditer(rb"(?<=.)GET |(?<=\r\n\r\n).", request.data)]


@st.composite
def cut(draw: st.DrawFn) -> Request:
    request = draw(
        st.one_of(
            st.builds(match_asked, ASKED),
            st.builds(match_asked, ASKED, st.sampled_from((TRAP, b"Host: x\r\nAccept: */*\r\n"))),
            st.builds(echo, st.lists(PIECES, max_size=4).map(b"".join)),
            st.builds(echo_in_chunks, st.lists(PIECES, max_size=3)),
            st.builds(refused, ASKED),
        )
    )
    end = len(request.data)
    at = draw(st.lists(st.sampled_from((end, end, end, *tempting(request))), max_size=3))
    at += draw(st.lists(st.integers(1, end), max_size=1))
    return request._replace(at=tuple(at))


def waited_for(request: Request, *at: int) -> Request:
    """Let it be cut there and at its end, as by a client that waits for its answer."""
    return request._replace(at=(*at, len(request.data)))


@given(st.lists(cut(), min_size=1, max_size=6))
@example([waited_for(echo(PLAIN % 6), 52)])
@example([waited_for(match_asked(5, TRAP), 33)])
@example([match_asked(6)._replace(at=(25,)), match_asked(5)])
def test_each_request_has_its_answer_however_the_bytes_arrive(asked: list[Request]) -> None:
    stream, marks = b"", {0}
    for request in asked:
        marks |= {len(stream) + place for place in request.at}
        stream += request.data
    pieces = [stream[begin:end] for begin, end in pairwise(sorted({*marks, len(stream)}))]
    bodies, cached = asyncio.run(answered(pieces))
    assert bodies == [request.answer for request in asked]
    event(f"{min(cached, 3)} answered from memory")


async def answered(pieces: Sequence[bytes]) -> tuple[list[bytes], int]:
    """Return the bodies of the responses, "" for errors, and how many came from memory."""
    clock = FakeClock()
    env = PipelineEnv(clock)
    env.knows(known_match(5, clock), known_match(6, clock))
    bodies = []
    async with env.talk() as talk:
        for piece in pieces:
            bodies += [
                answer.body if answer.status == 200 else b"" for answer in await talk.send(piece)
            ]
    return bodies, len(env.lines) - len(env.routed)
