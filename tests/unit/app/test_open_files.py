"""The limit of open files: raised, kept below by connections, and quiet where it is reached."""

from __future__ import annotations

import asyncio
import errno
import inspect
import subprocess
import sys

import pytest
from support.scripted_child import capturing_log

from supervisor.app.web import (
    LOG_EVERY_S,
    NO_ACCEPT,
    RESERVE,
    AcceptErrors,
    most_connections,
)

RAISE = """
import resource, sys
from supervisor.app.web import open_files_limit, raise_open_files_limit
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
soft, hard = (int(text) if text != "same" else hard for text in sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
raise_open_files_limit()
print(*resource.getrlimit(resource.RLIMIT_NOFILE), open_files_limit())
"""


@pytest.mark.parametrize(("soft", "hard"), [(64, 512), (512, 512)])
def test_the_limit_is_raised_to_the_hard_one(soft: int, hard: int) -> None:
    command = [sys.executable, "-c", RAISE, str(soft), str(hard)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(hard), str(hard), str(hard)]


@pytest.mark.parametrize("files", [4, 64, 256, 512, 1024, 4096, 1 << 20])
def test_connections_leave_room_for_bots_and_redis(files: int) -> None:
    most = most_connections(files)
    assert 1 <= most <= files * 3 // 4
    assert files - most >= min(RESERVE, files // 2)


def test_failed_accepts_are_one_line_a_second_and_other_errors_are_as_usual() -> None:
    log, lines = capturing_log()
    now = 100.0
    errors = AcceptErrors(log=log)
    loop = asyncio.new_event_loop()
    loop.time = lambda: now  # type: ignore[method-assign] # the time of the test
    usual: list[object] = []
    loop.default_exception_handler = usual.append  # type: ignore[assignment, method-assign] # what is handed on
    full = OSError(errno.EMFILE, "Too many open files")
    for _ in range(3):
        for _ in range(512):
            errors(loop, {"message": NO_ACCEPT, "exception": full})
        now += LOG_EVERY_S
    assert [line["event"] for line in lines] == ["accept_failed"] * 3
    assert "Too many open files" in lines[0]["reason"]
    assert not usual
    errors(loop, {"message": "something else"})
    assert usual == [{"message": "something else"}]
    loop.close()


def test_the_event_loop_still_says_it_in_these_words() -> None:
    assert NO_ACCEPT in inspect.getsource(asyncio.selector_events)
