"""Log output: order, limits, streams that fail or block, closing."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO

import pytest

from supervisor.logs.output import BATCH, CLOSE_S, SOON_S, Output

PATIENCE_S: Final = 10.0
PIPE: Final = 1 << 16  # bytes that a pipe holds; `pipe_of` makes it so


class Counting(io.StringIO):
    """A stream that counts its writes, which are system calls elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


class Failing(io.StringIO):
    """A stream that raises `error` while it is set."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error: Exception | None = error

    def write(self, text: str) -> int:
        if self.error is not None:
            raise self.error
        return super().write(text)


def gap(lines: int) -> str:
    return f"gap of {lines}\n"


@contextmanager
def output_to(stream: TextIO, capacity: int = 1 << 22) -> Iterator[Output]:
    output = Output(stream, gap, capacity=capacity)
    try:
        yield output
    finally:
        output.close()


@contextmanager
def pipe_of() -> Iterator[tuple[int, TextIO]]:
    """Yield the read end of a pipe and a stream that writes to it."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE)
    with os.fdopen(writer, "w") as stream:
        yield reader, stream
    os.close(reader)


def read_until(reader: int, ending: str) -> str:
    """Read from a pipe until its text ends with `end`."""
    text = b""
    while not text.decode().endswith(ending):
        text += os.read(reader, PIPE)
    return text.decode()


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "log-output"]


def test_lines_that_come_at_once_are_one_write_in_order() -> None:
    stream = Counting()
    with output_to(stream) as output:
        for n in range(100):
            output.write(f"{n}\n")
        assert output.drain()
        assert stream.getvalue() == "".join(f"{n}\n" for n in range(100))
        assert stream.writes == 1
        output.write("later\n")
        assert output.drain()
        assert stream.getvalue().endswith("99\nlater\n")


def test_a_line_is_written_soon_though_nothing_waits_for_it() -> None:
    stream = Counting()
    with output_to(stream) as output:
        begun = time.monotonic()
        output.write("line\n")
        wait_until(lambda: stream.getvalue() == "line\n")
        assert time.monotonic() - begun < 50 * SOON_S


def test_several_threads_lose_and_double_nothing_and_each_keeps_its_order() -> None:
    stream = io.StringIO()
    with output_to(stream) as output:

        def say(name: str) -> None:
            for n in range(2000):
                output.write(f"{name} {n}\n")

        speakers = [threading.Thread(target=say, args=(name,)) for name in ("a", "b", "c")]
        for one in speakers:
            one.start()
        for one in speakers:
            one.join()
        assert output.drain(PATIENCE_S)
        lines = stream.getvalue().splitlines()
        for name in ("a", "b", "c"):
            said = [line for line in lines if line.startswith(name)]
            assert said == [f"{name} {n}" for n in range(2000)]
        assert len(lines) == 6000
        assert output.dropped == 0


@pytest.mark.parametrize(
    "error",
    [
        BrokenPipeError(),
        OSError(errno.ENOSPC, "no space"),
        OSError(errno.EIO, "gone"),
        ValueError("closed"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_lines_that_the_stream_refuses_are_counted_and_said_to_be_missing(error: Exception) -> None:
    stream = Failing(error)
    with output_to(stream) as output:
        for n in range(5):
            output.write(f"{n}\n")
        assert output.drain()
        assert output.dropped == 5
        stream.error = None
        output.write("back\n")
        output.write("on\n")
        assert output.drain()
        assert stream.getvalue() == "gap of 5\nback\non\n"
        stream.error = error
        output.write("lost\n")
        assert output.drain()
        stream.error = None
        output.write("again\n")
        assert output.drain()
        assert stream.getvalue().endswith("on\ngap of 1\nagain\n")
        assert output.dropped == 6


def test_a_gap_that_could_not_be_told_is_told_later_and_whole() -> None:
    stream = Failing(BrokenPipeError())
    with output_to(stream) as output:
        for _ in range(3):
            output.write("lost\n")
            assert output.drain()
        stream.error = None
        output.write("back\n")
        assert output.drain()
        assert stream.getvalue() == "gap of 3\nback\n"


def test_a_pipe_without_a_reader_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream, output_to(stream) as output:
        output.write("into the void\n")
        assert output.drain()
        assert output.dropped == 1


def test_a_full_disk_is_no_error() -> None:
    with open("/dev/full", "w") as stream, output_to(stream) as output:  # noqa: PTH123
        output.write("nowhere to go\n")
        assert output.drain()
        assert output.dropped == 1


def test_a_pipe_that_is_not_read_delays_nothing_and_keeps_the_newest_lines() -> None:
    line = "x" * 999 + "\n"
    with pipe_of() as (reader, stream), output_to(stream, capacity=100_000) as output:
        output.write(f"{0:08}{line}")
        assert output.drain()
        begun = time.monotonic()
        for n in range(1, 5000):
            output.write(f"{n:08}{line}")
        assert time.monotonic() - begun < CLOSE_S
        assert not output.drain(0.05)
        # Lines in the pipe and in the current batch are written; of the others only the newest remain.
        least = 5000 - (PIPE + BATCH + 100_000) // len(line) - 2
        assert least <= output.dropped < 5000
        text = read_until(reader, f"{4999:08}{line}")
        lines = text.splitlines()
        numbers = [int(one[:8]) for one in lines if not one.startswith("gap")]
        gaps = [int(one.split()[-1]) for one in lines if one.startswith("gap")]
        assert numbers == sorted(numbers)
        assert numbers[-99:] == list(range(4901, 5000))
        assert sum(gaps) == output.dropped == 5000 - len(numbers)
        # Each is at the place of the missing lines.
        for at, one in enumerate(lines):
            if one.startswith("gap"):
                missing = int(lines[at + 1][:8]) - int(lines[at - 1][:8]) - 1
                assert one == f"gap of {missing}"


def test_what_is_too_long_for_the_queue_is_dropped() -> None:
    stream = io.StringIO()
    with output_to(stream, capacity=100) as output:
        output.write("x" * 101 + "\n")
        output.write("short\n")
        assert output.drain()
        assert stream.getvalue() == "gap of 1\nshort\n"


def test_a_line_that_was_cut_short_is_ended_before_the_next() -> None:
    with pipe_of() as (reader, stream):
        os.set_blocking(stream.fileno(), False)
        cut = PIPE + BATCH // 2  # of a line, more than the pipe takes
        with output_to(stream) as output:
            output.write("x" * cut + "\n")
            assert not output.drain(0.05)  # it waits for space, like a blocking write
            text = read_until(reader, "\n")
            assert text == "x" * cut + "\n"
            assert output.drain(PATIENCE_S)
            assert output.dropped == 0


def test_a_stream_that_fails_within_a_line_leaves_the_next_one_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room = [5]  # free bytes of the disk
    kept = bytearray()

    def write(_descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "no space")
        taken = data[: room[0]]
        room[0] -= len(taken)
        kept.extend(taken)
        return len(taken)

    with pipe_of() as (_, stream), output_to(stream) as output:
        monkeypatch.setattr(os, "write", write)
        output.write("one\n")
        output.write("two\n")
        output.write("three\n")
        assert output.drain()
        assert (bytes(kept), output.dropped) == (b"one\nt", 2)
        room[0] = 1000
        output.write("four\n")
        assert output.drain()
        assert bytes(kept) == b"one\nt\ngap of 2\nfour\n"


def test_what_no_encoding_can_say_is_written_all_the_same() -> None:
    stream = io.StringIO()
    with output_to(stream) as output:
        output.write("half \ud800\n")
        assert output.drain()
        assert stream.getvalue() == "half \\ud800\n"


def test_close_writes_what_waits_and_ends_the_thread() -> None:
    stream, before = io.StringIO(), threads()
    output = Output(stream, gap)
    for n in range(1000):
        output.write(f"{n}\n")
    output.close()
    assert stream.getvalue().splitlines()[-1] == "999"
    assert threads() == before
    output.close()


def test_a_dead_stream_does_not_hold_up_the_end() -> None:
    with pipe_of() as (reader, stream):
        output = Output(stream, gap)
        output.write("x" * (PIPE + 1) + "\n")
        begun = time.monotonic()
        output.close(0.1)
        assert time.monotonic() - begun < CLOSE_S
        read_until(reader, "\n")  # so that the thread ends


def test_what_is_logged_while_a_line_is_taken_in_does_not_wait_for_itself() -> None:
    """The garbage collector may run at any time, and a finalizer may log."""
    stream = io.StringIO()
    with output_to(stream) as output:
        with output._lock:
            output.write("from a finalizer\n")
        assert output.drain()
        assert stream.getvalue() == "from a finalizer\n"
