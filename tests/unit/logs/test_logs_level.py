"""A change of the level applies to loggers that were bound before it."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
import structlog

from supervisor.config.model import Log
from supervisor.logs import setup as logs


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


def test_a_logger_bound_before_goes_by_the_level_of_now() -> None:
    stream = io.StringIO()
    logs.configure(Log(format="json"), stream)
    bound = structlog.get_logger().bind(actor="bot")
    library = logging.getLogger("redis")
    for level in ("info", "debug", "error", "info"):
        logs.change_level(level)
        bound.debug(f"ours_debug_at_{level}")
        bound.warning(f"ours_warning_at_{level}")
        library.debug("theirs_debug_at_%s", level)
    text = written(stream)
    assert "ours_debug_at_debug" in text
    assert "theirs_debug_at_debug" in text
    assert text.count("_debug_at_") == 2
    assert text.count("ours_warning_at_") == 3
    assert "ours_warning_at_error" not in text


def test_who_watches_files_does_not_tell_of_every_line_that_is_logged() -> None:
    """The log file may be in the watched directory: each line would cause another one."""
    stream = io.StringIO()
    logs.configure(Log(format="json", level="debug"), stream)
    logging.getLogger("watchfiles.main").info("1 change detected")
    logs.change_level("debug")
    logging.getLogger("watchfiles.main").debug("1 change detected")
    assert written(stream) == ""
