"""Whatever only counts, logs or shows may fail: the work that it observes goes on."""

from __future__ import annotations

from typing import Any, Never

import pytest
from aiohttp.test_utils import make_mocked_request
from aiohttp.web import Response
from support.fake_clock import FakeClock
from support.pipeline_env import PipelineEnv, known_match
from support.scripted_child import CRASHES, SERVES, Run, SupervisorEnv, TopJitter, capturing_log

from actors.bot.messages import BotChanged, BotRemoved
from actors.bot.registry import BotRegistry
from actors.bot.states import BotState
from actors.dashboard.cause_log import RedisLog
from actors.http.auth import admin
from actors.http.auth.admin import Audit
from actors.metrics import contained
from actors.redis.client import CallObserver
from supervisor.child import ChildState, ChildStatus
from supervisor.supervisor import Supervisor


class Bug(Exception):
    """What observers fail with here."""


def fail(*_: object, **__: object) -> Never:
    raise Bug("in an observer")


def failures(lines: list[Any]) -> list[tuple[str, str]]:
    return [
        (one["log_level"], one["observer"]) for one in lines if one["event"] == "observer_failed"
    ]


def test_an_observer_is_called_with_what_it_is_given() -> None:
    log, lines = capturing_log()
    seen: list[tuple[int, str]] = []

    def observe(number: int, *, name: str) -> None:
        seen.append((number, name))

    contained(observe, "it", log=log)(1, name="a")
    assert seen == [(1, "a")]
    assert lines == []


def test_a_failing_observer_is_said_once_with_its_traceback_and_then_quietly() -> None:
    log, lines = capturing_log()
    observe = contained(fail, "it", log=log)
    for _ in range(3):
        observe()
    assert failures(lines) == [("error", "it"), ("debug", "it"), ("debug", "it")]
    assert lines[0]["exc_info"]
    assert {one["error_type"] for one in lines} == {"Bug"}


def test_what_ends_a_task_is_no_failure_of_an_observer() -> None:
    log, _ = capturing_log()

    def end() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        contained(end, "it", log=log)()


def test_a_watcher_that_fails_keeps_no_change_from_the_others(clock: FakeClock) -> None:
    heard: list[BotChanged | BotRemoved] = []

    class Watcher:
        def __init__(self, name: str) -> None:
            self.name = name

        def tell(self, message: BotChanged | BotRemoved) -> None:
            if self.name == "broken":
                fail()
            heard.append(message)

    log, lines = capturing_log()
    registry = BotRegistry(stable_after_s=60.0, clock=clock, log=log)
    for name in ("broken", "router"):
        registry.subscribe(Watcher(name))
    change = BotChanged("bot-1", BotState.READY)
    registry.changed(change)
    registry.remove("bot-1")
    assert heard == [change, BotRemoved("bot-1")]
    assert failures(lines) == [("error", "broken")] * 2


async def test_what_redis_did_is_no_failure_because_it_could_not_be_counted(
    clock: FakeClock,
) -> None:
    class Watch(CallObserver):
        answered = refused = unable = failed = fail

    log, lines = capturing_log()
    redis = RedisLog(Watch(), clock=clock, log=log)
    redis.failed("look", "gone")
    redis.unable("look", "OOM")
    redis.refused("look")
    redis.answered("look", 0.1)
    assert [one["event"] for one in lines].count("redis_lost") == 2
    assert failures(lines) == [("error", "redis")] * 4


class Unshowable(Exception):
    """An error that has no text to show."""

    def __str__(self) -> str:
        raise Bug("in an error's text")


@pytest.mark.usefixtures("no_leaks")
@pytest.mark.parametrize("error", [CRASHES.error, Unshowable()], ids=["usual", "unshowable"])
async def test_an_observer_that_always_fails_changes_no_childs_life(
    supervisor_env: SupervisorEnv, error: Exception
) -> None:
    seen: list[ChildState] = []

    def observe(status: ChildStatus) -> None:
        seen.append(status.state)
        fail()

    supervisor = Supervisor(
        "test",
        [supervisor_env.spec("a", Run(serve_s=0.0, error=error), SERVES)],
        clock=supervisor_env.clock,
        rng=TopJitter(),
        observe=observe,
        log=supervisor_env.log,
    )
    async with supervisor_env.running(supervisor) as running:
        await supervisor_env.clock.advance(10)
        (status,) = supervisor.children()
        assert (status.state, status.restarts) == (ChildState.RUNNING, 1)
    assert running.exception() is None
    assert seen[-1] is ChildState.STOPPED
    assert len(failures(supervisor_env.events)) == len(seen)
    assert [one["error_type"] for one in supervisor_env.logged("child_crashed")] == [
        type(error).__name__
    ]


@pytest.mark.parametrize("from_memory", [True, False])
async def test_a_request_that_could_not_be_noted_is_answered(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, *, from_memory: bool
) -> None:
    env = PipelineEnv(clock)
    env.knows(known_match(5, clock))
    monkeypatch.setattr(env, "record", fail)
    async with env.talk(from_memory=from_memory) as talk:
        for _ in range(2):
            answer = await talk.ask(b"GET /matches/5 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert answer.status == 200
    assert env.lines == []
    assert bool(env.routed) != from_memory


async def test_what_an_operator_did_is_done_though_its_line_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log, lines = capturing_log()
    monkeypatch.setattr(admin, "loggable", fail)
    Audit(log).write(make_mocked_request("POST", "/admin/fleet/drain"), "token", Response())
    assert failures(lines) == [("error", "audit")]
