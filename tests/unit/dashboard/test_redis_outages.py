"""Of a Redis that is away is told once, and once when it is back."""

from __future__ import annotations

from support.fake_clock import FakeClock
from support.scripted_child import capturing_log

from actors.bot.shared_causes import CauseKind, SharedCause, SharedCauses
from actors.dashboard.cause_log import (
    BACK_AFTER,
    SUMMARY_S,
    WRITES_AFTER_S,
    LastingCauses,
    RedisLog,
)
from actors.errors import SteamUnreachable
from actors.redis.client import CallObserver


class Watch(CallObserver):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def answered(self, script: str, _seconds: float) -> None:
        self.heard.append(f"answered {script}")

    def refused(self, script: str) -> None:
        self.heard.append(f"refused {script}")

    def unable(self, script: str, _reason: str) -> None:
        self.heard.append(f"unable {script}")

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


async def test_a_redis_that_only_reads_is_lost_until_nothing_is_refused_any_more(
    clock: FakeClock,
) -> None:
    """What only reads is answered all the time; that must not end the outage, and begin the next."""
    log, lines = capturing_log()
    watch = Watch()
    redis = RedisLog(watch, clock=clock, log=log)
    for _ in range(2):
        redis.unable("reserve", "OOM command not allowed")
        for _ in range(2 * BACK_AFTER):
            redis.answered("look", 0.1)
        await clock.advance(WRITES_AFTER_S - 1.0)
    assert [(line["event"], line["reason"]) for line in lines] == [
        ("redis_lost", "OOM command not allowed")
    ]
    assert watch.heard.count("unable reserve") == 2
    await clock.advance(1.0)
    for _ in range(BACK_AFTER):
        redis.answered("look", 0.1)
    assert [line["event"] for line in lines] == ["redis_lost", "redis_back"]
    assert lines[1]["duration_s"] == WRITES_AFTER_S - 1.0


async def test_a_redis_that_is_gone_and_then_full_is_two_causes_of_one_outage(
    clock: FakeClock,
) -> None:
    log, lines = capturing_log()
    redis = RedisLog(Watch(), clock=clock, log=log)
    for _ in range(3):
        redis.failed("look", "refused")
        redis.unable("look", "LOADING")
    assert [line["reason"] for line in lines] == ["refused", "LOADING"]


async def test_a_redis_that_writes_again_is_back_at_once(clock: FakeClock) -> None:
    log, lines = capturing_log()
    redis = RedisLog(Watch(), clock=clock, log=log)
    redis.unable("reserve", "READONLY You can't write against a read only replica.")
    await clock.advance(1.0)
    for _ in range(BACK_AFTER):
        redis.answered("renew", 0.1)
    assert [line["event"] for line in lines] == ["redis_lost", "redis_back"]
    assert redis.outage is None


async def test_a_lost_redis_is_the_first_of_the_causes_that_last(clock: FakeClock) -> None:
    log, _ = capturing_log()
    redis = RedisLog(Watch(), clock=clock, log=log)
    shared = SharedCauses()
    causes = LastingCauses(shared, redis, clock=clock)
    assert causes.active() == ()
    shared.began("bot-1")
    shared.failed("bot-1", "axe", SteamUnreachable("connect", "refused"), clock.wall())
    assert [one.kind for one in causes.active()] == [CauseKind.STEAM_UNREACHABLE]
    redis.failed("look", "gone")
    assert [one.kind for one in causes.active()] == [
        CauseKind.REDIS_UNREACHABLE,
        CauseKind.STEAM_UNREACHABLE,
    ]
