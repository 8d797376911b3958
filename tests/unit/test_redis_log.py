"""Of a Redis that is away is told once, and once when it is back."""

from __future__ import annotations

from fake_clock import FakeClock
from scripted_child import capturing_log

from actors.redis_log import BACK_AFTER, SUMMARY_S, RedisLog
from actors.shared_causes import CauseKind, SharedCause


class Watch:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def answered(self, script: str, _seconds: float) -> None:
        self.heard.append(f"answered {script}")

    def refused(self, script: str) -> None:
        self.heard.append(f"refused {script}")

    def failed(self, script: str, _reason: str) -> None:
        self.heard.append(f"failed {script}")


async def test_an_outage_is_two_lines_however_many_notice(clock: FakeClock) -> None:
    log, lines = capturing_log()
    watch = Watch()
    redis = RedisLog(watch, clock=clock, log=log)
    redis.answered("renew", 0.1)
    redis.refused("land")
    assert lines == []
    for _ in range(5):
        redis.failed("look", "gone")
        redis.answered("renew", 0.1)  # was on its way
        await clock.advance(2.0)
    assert [line["event"] for line in lines] == ["redis_lost"]
    assert (lines[0]["script"], lines[0]["reason"]) == ("look", "gone")
    redis.answered("look", 0.1)
    redis.refused("land")
    assert len(lines) == 2
    assert BACK_AFTER == 3
    assert (lines[1]["event"], lines[1]["failures"], lines[1]["duration_s"]) == (
        "redis_back",
        5,
        10.0,
    )
    redis.answered("look", 0.1)
    assert len(lines) == 2
    redis.failed("look", "gone again")
    assert lines[2]["event"] == "redis_lost"
    assert watch.heard.count("failed look") == 6
    assert watch.heard.count("answered renew") == 6
    assert watch.heard.count("refused land") == 2


async def test_an_outage_that_lasts_is_one_line_a_minute(clock: FakeClock) -> None:
    log, lines = capturing_log()
    redis = RedisLog(Watch(), clock=clock, log=log)
    for _ in range(300):  # five minutes
        redis.failed("renew", "gone")
        await clock.advance(1.0)
    assert [line["event"] for line in lines] == ["redis_lost", *["redis_still_lost"] * 4]
    assert SUMMARY_S == 60.0
    assert (lines[1]["duration_s"], lines[1]["failures"], lines[1]["reason"]) == (60.0, 61, "gone")


async def test_an_outage_is_a_cause_that_all_bots_share_while_it_lasts(clock: FakeClock) -> None:
    log, _ = capturing_log()
    redis = RedisLog(Watch(), clock=clock, log=log)
    begun = clock.wall()
    redis.failed("renew", "gone")
    await clock.advance(5.0)
    redis.failed("renew", "gone")
    assert redis.outage == SharedCause(CauseKind.REDIS_UNREACHABLE, begun, "gone", frozenset())
    for _ in range(BACK_AFTER):
        redis.answered("renew", 0.1)
    back: SharedCause | None = redis.outage
    assert back is None
