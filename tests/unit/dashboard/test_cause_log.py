"""A shared cause is one line at its begin, one a minute, one at its end."""

from __future__ import annotations

from typing import Any

import pytest
from support.fake_clock import FakeClock
from support.scripted_child import capturing_log

from actors.bot.shared_causes import CauseKind, SharedCause
from actors.dashboard.cause_log import SUMMARY_S, CauseLog

K = CauseKind
BOTS = frozenset(f"bot-{number}" for number in range(100))


class Logged:
    """The log of causes, looked at once a second."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        log, self.lines = capturing_log()
        self.causes: tuple[SharedCause, ...] = ()
        self._log = CauseLog(clock=clock, log=log)

    async def run(self, seconds: int) -> None:
        for _ in range(seconds):
            if self._log.is_due(self.causes):
                self._log.note(self.causes, 100)
            await self.clock.advance(1.0)

    @property
    def events(self) -> list[tuple[str, str]]:
        return [(line["event"], line["log_level"]) for line in self.lines]


@pytest.fixture
def logged(clock: FakeClock) -> Logged:
    return Logged(clock)


def cause(clock: FakeClock, kind: CauseKind, **more: Any) -> SharedCause:
    return SharedCause(kind, clock.wall(), "connection refused", BOTS, **more)


async def test_begin_course_and_end(clock: FakeClock, logged: Logged) -> None:
    assert SUMMARY_S == 60.0
    await logged.run(10)
    logged.causes = (cause(clock, K.STEAM_UNREACHABLE),)
    await logged.run(150)
    logged.causes = ()
    await logged.run(100)
    assert logged.events == [
        ("shared_cause_begun", "warning"),
        ("shared_cause_lasts", "info"),
        ("shared_cause_lasts", "info"),
        ("shared_cause_ended", "info"),
    ]
    begun, first, second, ended = logged.lines
    facts = {"kind": "steam-unreachable", "reason": "connection refused", "bots": 100, "of": 100}
    assert facts.items() <= begun.items()
    assert facts.items() <= second.items()
    assert [one["duration_s"] for one in (first, second, ended)] == [60.0, 120.0, 150.0]


async def test_the_begin_says_what_the_page_says_in_utc(clock: FakeClock, logged: Logged) -> None:
    logged.causes = (cause(clock, K.STEAM_UNREACHABLE),)
    await logged.run(1)
    assert logged.lines[0]["text"] == (
        "Steam has not been reachable since 22:30 UTC (100 of 100 bots: connection refused). "
        "Nothing to do."
    )


async def test_two_causes_have_a_line_each_and_so_have_two_addresses(
    clock: FakeClock, logged: Logged
) -> None:
    first = cause(clock, K.LOGONS_LIMITED, until=clock.wall() + 60, address="192.0.2.1")
    second = cause(clock, K.LOGONS_LIMITED, until=clock.wall() + 60, address="192.0.2.2")
    logged.causes = (first, second, cause(clock, K.GC_UNAVAILABLE))
    await logged.run(10)
    logged.causes = (second,)
    await logged.run(10)
    assert [event for event, _ in logged.events] == [
        *["shared_cause_begun"] * 3,
        *["shared_cause_ended"] * 2,
    ]


async def test_redis_has_lines_of_its_own(clock: FakeClock, logged: Logged) -> None:
    logged.causes = (cause(clock, K.REDIS_UNREACHABLE),)
    await logged.run(100)
    assert logged.lines == []
