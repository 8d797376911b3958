"""What comes out of the logs: its form, its level, and where it may come from."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from supervisor import logs
from supervisor.settings import Log


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def json_lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


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
    assert "abaddon" in stream.getvalue()
    assert "\x1b[" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_the_format_can_be_chosen_whatever_the_stream() -> None:
    stream = configured(Log(format="console"))
    structlog.get_logger().info("lease_acquired")
    assert not stream.getvalue().startswith("{")
    assert "\x1b[" not in stream.getvalue()  # a file has no colours
    terminal = Terminal()
    logs.configure(Log(format="json"), terminal)
    structlog.get_logger().info("lease_acquired")
    assert json.loads(terminal.getvalue())["event"] == "lease_acquired"


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
    assert "ValueError: 7" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


def test_what_json_cannot_say_is_logged_all_the_same() -> None:
    stream = configured()
    structlog.get_logger().info("odd", huge=2**70, raw=b"\xff", fault=OSError(5, "gone"), tags={1})
    (line,) = json_lines(stream)
    assert line["huge"] == 2**70
    assert line["raw"] == "b'\\xff'"
    assert line["fault"] == "[Errno 5] gone"
    assert line["tags"] == [1]
