"""The line of a request is the same as the one of structlog."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from supervisor.config.model import Log
from supervisor.logs import setup as logs
from supervisor.logs.access_log import RequestLog


@pytest.fixture(autouse=True)
def _structlog_restored() -> Iterator[None]:
    yield
    logs.close()
    structlog.reset_defaults()


def configured(log: Log) -> io.StringIO:
    stream = io.StringIO()
    logs.configure(log, stream)
    return stream


def written(stream: io.StringIO) -> str:
    logs.drain()
    return stream.getvalue()


def facts(**more: Any) -> dict[str, Any]:
    return {"path": "/matches/5", "match_id": "5", "request_id": "a1", "status": 200, **more}


def test_a_requests_line_is_the_same_as_on_structlogs_way() -> None:
    stream = configured(Log(format="json"))
    record, log = RequestLog(structlog.get_logger()), structlog.get_logger().bind(actor="http")
    record("info", facts(client="etl"))
    log.info("request_answered", **facts(client="etl"))
    quick, slow = (json.loads(line) for line in written(stream).splitlines())
    for line in (quick, slow):
        assert line.pop("timestamp").endswith("Z")
    assert quick == slow


def test_a_secret_that_a_client_sends_stays_out_of_its_line() -> None:
    stream = configured(Log(format="json"))
    secret = "botapi_" + "x" * 40
    record = RequestLog(structlog.get_logger())
    record("info", facts(path=f"/matches/{secret}", match_id=secret, request_id=secret))
    record("info", facts(match_id=None))
    assert written(stream).count("\n") == 2
    assert secret not in written(stream)


def test_a_requests_line_goes_by_the_level_of_the_moment() -> None:
    stream = configured(Log(format="json", level="warning"))
    record = RequestLog(structlog.get_logger())
    record("info", facts())
    logs.change_level("info")
    record("info", facts())
    record("debug", facts())
    assert written(stream).count("\n") == 1


def test_for_people_a_requests_line_is_as_all_others() -> None:
    stream = configured(Log(format="console"))
    RequestLog(structlog.get_logger())("info", facts())
    assert "request_answered" in written(stream)
    assert not written(stream).startswith("{")


@pytest.mark.parametrize("odd", ["half \ud800 a character", 2**70])
def test_a_value_that_the_quick_way_cannot_write_goes_the_other_one(odd: object) -> None:
    stream = configured(Log(format="json"))
    RequestLog(structlog.get_logger())("info", facts(client=odd))
    line = json.loads(written(stream))
    assert (line["event"], line["client"]) == ("request_answered", odd)
