"""Many lines in one write: none is lost, none overtakes another."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from supervisor import logs
from supervisor.log_output import SOON_S, Output
from supervisor.request_log import RequestLog
from supervisor.settings import Log


class Counting(io.StringIO):
    """A stream that counts its writes, which are system calls elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def write(self, text: str) -> int:
        self.writes += bool(text)
        return super().write(text)


@pytest.fixture(autouse=True)
def _structlog_restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def facts(**more: Any) -> dict[str, Any]:
    return {"path": "/matches/5", "match_id": "5", "request_id": "a1", "status": 200, **more}


async def test_lines_that_come_at_once_are_one_write() -> None:
    stream = Counting()
    output = Output(stream)
    for n in range(100):
        output.write_soon(f"{n}\n")
    assert stream.writes == 0
    await asyncio.sleep(2 * SOON_S)
    assert stream.writes == 1
    assert stream.getvalue() == "".join(f"{n}\n" for n in range(100))
    output.write_soon("later\n")
    await asyncio.sleep(2 * SOON_S)
    assert stream.getvalue().endswith("99\nlater\n")


async def test_what_is_written_at_once_takes_along_what_waits() -> None:
    stream = Counting()
    output = Output(stream)
    output.write_soon("first\n")
    output.write("second\n")
    assert stream.getvalue() == "first\nsecond\n"
    await asyncio.sleep(2 * SOON_S)
    assert stream.getvalue() == "first\nsecond\n"


async def test_other_threads_lose_and_double_nothing() -> None:
    stream = io.StringIO()
    output = Output(stream)

    def other() -> None:
        for n in range(2000):
            output.write(f"other {n}\n")

    thread = threading.Thread(target=other)
    thread.start()
    for n in range(2000):
        output.write_soon(f"loop {n}\n")
        if n % 500 == 0:
            await asyncio.sleep(2 * SOON_S)
    thread.join()
    await asyncio.sleep(2 * SOON_S)
    lines = stream.getvalue().splitlines()
    assert sorted(lines) == sorted(f"{who} {n}" for who in ("other", "loop") for n in range(2000))


async def test_a_requests_line_is_the_same_as_on_structlogs_way() -> None:
    stream = io.StringIO()
    logs.configure(Log(format="json"), stream)
    record, log = RequestLog(structlog.get_logger()), structlog.get_logger().bind(actor="http")
    record("info", facts(client="etl"))
    log.info("request_answered", **facts(client="etl"))
    await asyncio.sleep(2 * SOON_S)
    quick, slow = (json.loads(line) for line in stream.getvalue().splitlines())
    for line in (quick, slow):
        assert line.pop("timestamp").endswith("Z")
        assert len(stream.getvalue().splitlines()) == 2
    assert quick == slow


async def test_a_secret_that_a_client_sends_stays_out_of_its_line() -> None:
    stream = io.StringIO()
    logs.configure(Log(format="json"), stream)
    secret = "botapi_" + "x" * 40
    record = RequestLog(structlog.get_logger())
    record("info", facts(path=f"/matches/{secret}", match_id=secret, request_id=secret))
    record("info", facts(match_id=None))
    await asyncio.sleep(2 * SOON_S)
    assert stream.getvalue().count("\n") == 2
    assert secret not in stream.getvalue()


async def test_a_requests_line_goes_by_the_level_of_the_moment() -> None:
    stream = io.StringIO()
    logs.configure(Log(format="json", level="warning"), stream)
    record = RequestLog(structlog.get_logger())
    record("info", facts())
    logs.change_level("info")
    record("info", facts())
    record("debug", facts())
    await asyncio.sleep(2 * SOON_S)
    assert stream.getvalue().count("\n") == 1


async def test_for_people_a_requests_line_is_as_all_others() -> None:
    stream = io.StringIO()
    logs.configure(Log(format="console"), stream)
    RequestLog(structlog.get_logger())("info", facts())
    assert "request_answered" in stream.getvalue()
    assert not stream.getvalue().startswith("{")
