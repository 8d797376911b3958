"""Formats, levels and sources of log lines."""

from __future__ import annotations

import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from supervisor.config.model import Log
from supervisor.logs import setup as logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logs.close()
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def written(stream: io.StringIO) -> str:
    logs.drain()
    return stream.getvalue()


def json_lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written(stream).splitlines()]


def configured(log: Log | None = None) -> io.StringIO:
    stream = io.StringIO()
    logs.configure(log or Log(), stream)
    return stream


def test_elsewhere_than_on_a_terminal_each_event_is_one_line_of_json() -> None:
    stream = configured()
    structlog.get_logger().bind(actor="bot").info("lease_acquired", account="a", fencing_token=7)
    (line,) = json_lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "lease_acquired",
        "level": "info",
        "actor": "bot",
        "account": "a",
        "fencing_token": 7,
    }


def test_on_a_terminal_events_are_for_people() -> None:
    stream = Terminal()
    logs.configure(Log(), stream)
    structlog.get_logger().info("lease_acquired", account="abaddon")
    assert "abaddon" in written(stream)
    assert "\x1b[" in written(stream)
    assert not written(stream).startswith("{")


def test_the_format_can_be_chosen_whatever_the_stream() -> None:
    stream = configured(Log(format="console"))
    structlog.get_logger().info("lease_acquired")
    assert not written(stream).startswith("{")
    assert "\x1b[" not in written(stream)  # a file has no colours
    terminal = Terminal()
    logs.configure(Log(format="json"), terminal)
    structlog.get_logger().info("lease_acquired")
    assert json.loads(written(terminal))["event"] == "lease_acquired"


def test_events_below_the_level_are_dropped() -> None:
    stream = configured(Log(level="warning"))
    structlog.get_logger().info("bot_state_changed")
    logging.getLogger("steam").info("noise")
    structlog.get_logger().warning("lease_lost")
    assert [line["event"] for line in json_lines(stream)] == ["lease_lost"]


def test_the_standard_library_logs_the_same_way() -> None:
    stream = configured()
    logging.getLogger("aiohttp.server").error("refused %s", "redis://u:hunter2@h/0")
    (line,) = json_lines(stream)
    assert line["event"] == "refused redis://***@h/0"
    assert (line["logger"], line["level"]) == ("aiohttp.server", "error")


def test_python_warnings_are_logged() -> None:
    stream = configured()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("careful", stacklevel=1)
    assert "careful" in json_lines(stream)[0]["event"]


@pytest.mark.parametrize("chosen", ["json", "console"])
@pytest.mark.parametrize("through", ["structlog", "standard library"])
def test_a_traceback_shows_no_local_variables(chosen: str, through: str) -> None:
    stream = configured(Log.model_validate({"format": chosen}))
    log = structlog.get_logger() if through == "structlog" else logging.getLogger("x")

    def fail(kept: str) -> None:
        raise ValueError(len(kept))

    try:
        fail("hunter" + "2")
    except ValueError:
        log.exception("child_crashed")
    assert "ValueError: 7" in written(stream)
    assert "hunter2" not in written(stream)


def test_what_json_cannot_say_is_logged_all_the_same() -> None:
    stream = configured()
    structlog.get_logger().info("odd", huge=2**70, raw=b"\xff", fault=OSError(5, "gone"), tags={1})
    (line,) = json_lines(stream)
    assert line["huge"] == 2**70
    assert line["raw"] == "b'\\xff'"
    assert line["fault"] == "[Errno 5] gone"
    assert line["tags"] == [1]


class Unshowable:
    """A value that raises when it is converted to text."""

    def __repr__(self) -> str:
        raise RuntimeError("no text, and no secret-1 either")


@pytest.mark.parametrize("chosen", ["json", "console"])
def test_a_value_that_cannot_be_shown_stops_nothing_and_its_event_is_there(chosen: str) -> None:
    stream = configured(Log.model_validate({"format": chosen}))
    log = structlog.get_logger()
    log.warning("lease_lost", account=Unshowable())
    log.warning("lease_back")
    assert "lease_lost" in written(stream)
    assert "RuntimeError" in written(stream)
    assert "secret-1" not in written(stream)
    assert written(stream).index("lease_lost") < written(stream).index("lease_back")
    assert logs.dropped_lines() == 0


def test_a_record_of_a_library_that_cannot_be_put_into_words_is_counted(
    capfd: pytest.CaptureFixture[str],
) -> None:
    configured()
    before = logs.dropped_lines()
    logging.getLogger("redis").error("%d connections", "no number")
    logging.getLogger("redis").error("%s", Unshowable())
    assert logs.dropped_lines() == before + 2
    assert capfd.readouterr() == ("", "")  # nothing is printed


def test_a_stream_that_fails_reaches_no_caller_and_the_gap_is_said() -> None:
    class Broken(io.StringIO):
        is_broken = True

        def write(self, text: str) -> int:
            if self.is_broken:
                raise BrokenPipeError
            return super().write(text)

    stream = Broken()
    logs.configure(Log(format="json"), stream)
    for _ in range(3):
        structlog.get_logger().info("bot_state_changed")
        logging.getLogger("redis").warning("slow")
    logs.drain()
    assert logs.dropped_lines() == 6
    stream.is_broken = False
    structlog.get_logger().info("bot_ready")
    gap, ready = map(json.loads, written(stream).splitlines())
    assert gap.pop("timestamp")
    assert gap == {"event": "log_lines_dropped", "level": "warning", "lines": 6}
    assert ready["event"] == "bot_ready"


def test_a_gap_is_not_said_below_the_level() -> None:
    stream = configured(Log(format="json", level="error"))
    logging.getLogger("redis").error("%d connections", "no number")
    structlog.get_logger().error("service_failed")
    assert [line["event"] for line in json_lines(stream)] == ["service_failed"]


def test_a_process_without_stderr_logs_into_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    logs.configure(Log())
    with sys.stderr:
        structlog.get_logger().info("service_starting")
        logs.close()
    assert logs.dropped_lines() == 0
