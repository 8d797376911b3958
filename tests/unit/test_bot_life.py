"""One life of a bot, in virtual time: what it does in which order, and what it leaves behind."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import structlog
from fake_clock import FakeClock, settle
from fake_steam import SERVER, FakeDirectory, FakePacing, FakeSteam, Script
from fake_steam import FakeStore as Store
from structlog.testing import capture_logs

from actors.accounts.pacing import Wait
from actors.actor import Address
from actors.bot import Bot, BudgetIsSpent
from actors.bot_ports import BotMemory, BotPolicy, BotPorts
from actors.bot_states import BotState
from actors.errors import (
    ActorStopped,
    CannotUnseal,
    GcUnavailable,
    LeaseLost,
    LogOnRefused,
    NeedsHuman,
    NoPassword,
    ServiceError,
    SteamUnreachable,
    StoreUnavailable,
)
from actors.messages import (
    BotChanged,
    BudgetSpent,
    RouterToBot,
    ServeAliases,
    ServeMatch,
    ServeProfile,
)
from actors.steam.port import AuthState, Dropped, GcLost, GcReady, GuardRequest

pytestmark = pytest.mark.usefixtures("no_leaks")

LEASE_S = 60.0
LETTING_GO = ["log_off", "close", "release"]


async def nobody(_request: GuardRequest) -> str | None:
    return None


@dataclass
class Stage:
    """A bot with everything around it."""

    clock: FakeClock
    script: Script
    store: Store
    steam: FakeSteam
    directory: FakeDirectory
    pacing: FakePacing
    changes: list[BotChanged]
    address: Address[RouterToBot]
    bot: Bot
    begun: asyncio.Task[None] | None = None

    @property
    def life(self) -> asyncio.Task[None]:
        """The bot's run; begins when it is first asked for."""
        if self.begun is None:
            self.begun = asyncio.create_task(self.bot.run())
        return self.begun

    @property
    def states(self) -> list[BotState]:
        return [change.state for change in self.changes]

    async def until_ready(self) -> None:
        await self.until_settled()
        assert self.states[-1] is BotState.READY

    async def until_settled(self) -> None:
        assert self.life is not None
        await settle()

    async def end(self) -> BaseException | None:
        """Let the life come to its end; return what it ended with."""
        await self.until_settled()
        assert self.life.done()
        return self.life.exception()

    def drop(self, event: Dropped | GcLost | GcReady) -> None:
        assert self.steam.link is not None
        self.steam.link.listener(event)


@pytest.fixture
async def stage(clock: FakeClock) -> AsyncIterator[Stage]:
    script, changes = Script(), list[BotChanged]()
    store, steam, directory = Store(script, ["axe", "bane"]), FakeSteam(script), FakeDirectory()
    pacing = FakePacing()
    address: Address[RouterToBot] = Address("bot-1")
    ports = BotPorts(
        store=store,
        steam=steam,
        directory=directory,
        pacing=pacing,
        on_guard=nobody,
        publish=changes.append,
        clock=clock,
        wall=clock.wall,
        rng=random.Random(1),
        log=structlog.get_logger(),
    )
    policy = BotPolicy(lease_s=LEASE_S, fence_margin_s=8.0)
    bot = Bot("bot-1", "us/bot-1", address=address, memory=BotMemory(), ports=ports, policy=policy)
    await bot.start()
    stage = Stage(clock, script, store, steam, directory, pacing, changes, address, bot)
    yield stage
    bot.stop()
    for hold in script.held.values():
        hold.set()
    await asyncio.wait({stage.life})


async def test_a_first_life_takes_the_password_and_stores_the_token_before_using_it(
    stage: Stage,
) -> None:
    await stage.until_ready()
    assert stage.script.deeds == [
        "acquire", "load_auth", "open", "credential", "authenticate", "save_auth", "log_on", "launch",
    ]  # fmt: skip
    assert stage.states == [
        BotState.WAITING_FOR_ACCOUNT,
        BotState.CONNECTING,
        BotState.AUTHENTICATING,
        BotState.LAUNCHING,
        BotState.READY,
    ]
    seat = stage.changes[-1].seat
    assert seat is not None
    assert (seat.account, seat.fencing_token, seat.ip) == ("axe", 1, "192.0.2.1")


async def test_a_stored_token_is_used_and_the_password_not_touched(stage: Stage) -> None:
    stage.store.auth["axe"] = AuthState(7, "stored", None)
    await stage.until_ready()
    assert "credential" not in stage.script.deeds
    assert "save_auth" not in stage.script.deeds


async def test_a_stop_logs_off_closes_and_then_gives_the_account_back(stage: Stage) -> None:
    await stage.until_ready()
    stage.bot.stop()
    assert await stage.end() is None
    assert stage.script.deeds[-3:] == LETTING_GO
    assert stage.states[-2:] == [BotState.DRAINING, BotState.STOPPED]
    assert stage.store.held == {}


async def test_after_a_stop_giving_back_is_tried_until_redis_answers(stage: Stage) -> None:
    await stage.until_ready()
    stage.script.errors["release"] = StoreUnavailable("release")
    stage.bot.stop()
    await stage.clock.advance(1.0)
    assert await stage.end() is None
    assert stage.script.deeds[-4:] == [*LETTING_GO, "release"]
    assert stage.store.held == {}


async def test_what_steam_said_before_it_hung_up_is_heard(stage: Stage) -> None:
    """It closes the connection after every refusal, and a dead token must not be tried for ever."""
    stage.store.auth["axe"] = AuthState(7, "stored", "guard")
    held = stage.script.held["log_on"] = asyncio.Event()
    stage.script.errors["log_on"] = LogOnRefused("logon", 15)
    await stage.until_settled()
    stage.drop(Dropped("closed"))
    await stage.until_settled()
    held.set()
    assert isinstance(await stage.end(), LogOnRefused)
    assert stage.store.auth["axe"] == AuthState(7, "", "guard")
    assert stage.store.held == {}


async def test_a_token_is_stored_though_its_connection_broke(stage: Stage) -> None:
    held = stage.script.held["save_auth"] = asyncio.Event()
    await stage.until_settled()
    stage.drop(Dropped("gone"))
    await stage.until_settled()
    held.set()
    assert isinstance(await stage.end(), SteamUnreachable)
    assert stage.store.auth["axe"].refresh_token == "token of axe"


async def test_a_connection_that_broke_during_the_log_on_makes_no_bot_ready(stage: Stage) -> None:
    held = stage.script.held["log_on"] = asyncio.Event()
    await stage.until_settled()
    stage.drop(Dropped("logged off", 34))
    held.set()
    ended = await stage.end()
    assert isinstance(ended, SteamUnreachable)
    assert ended.eresult == 34
    assert "launch" not in stage.script.deeds
    assert BotState.LAUNCHING not in stage.states


async def test_a_stop_lets_a_running_request_finish_first(stage: Stage) -> None:
    await stage.until_ready()
    hold = stage.script.held["request 5"] = asyncio.Event()
    deadline = stage.clock.now() + 60
    asked = asyncio.create_task(stage.address.ask(ServeMatch(5, 5.0), deadline=deadline))
    await settle()
    stage.bot.stop()
    await settle()
    assert "log_off" not in stage.script.deeds
    hold.set()
    assert await asked == b"answer 5"
    assert await stage.end() is None
    assert stage.script.deeds[-3:] == LETTING_GO


async def test_questions_about_players_are_served_only_while_it_is_ready(stage: Stage) -> None:
    deadline = stage.clock.now() + 60
    await stage.until_ready()
    assert await stage.address.ask(ServeProfile(7, 5.0), deadline=deadline) == b"card 7"
    answer = await stage.address.ask(ServeAliases((8, 9), 5.0), deadline=deadline)
    assert answer == b"names of 2"
    stage.script.errors["profile 7"] = SteamUnreachable("session", "gone")
    with pytest.raises(SteamUnreachable):
        await stage.address.ask(ServeProfile(7, 5.0), deadline=deadline)
    stage.drop(GcLost("gone"))
    with pytest.raises(GcUnavailable):
        await stage.address.ask(ServeProfile(7, 5.0), deadline=deadline)


async def test_several_requests_run_at_once_and_may_end_in_any_order(stage: Stage) -> None:
    await stage.until_ready()
    holds = {n: stage.script.held.setdefault(f"request {n}", asyncio.Event()) for n in (1, 2)}
    deadline = stage.clock.now() + 60
    asked = {
        n: asyncio.create_task(stage.address.ask(ServeMatch(n, 5.0), deadline=deadline))
        for n in holds
    }
    await settle()
    holds[2].set()
    assert await asked[2] == b"answer 2"
    assert not asked[1].done()
    holds[1].set()
    assert await asked[1] == b"answer 1"


async def test_a_dropped_connection_keeps_the_lease_for_the_next_life(stage: Stage) -> None:
    await stage.until_ready()
    stage.drop(Dropped("gone"))
    assert isinstance(await stage.end(), SteamUnreachable)
    assert "release" not in stage.script.deeds
    assert stage.store.held == {"axe": 1}
    assert stage.states[-1] is BotState.BACKING_OFF


async def test_being_replaced_gives_the_account_up_for_a_while(stage: Stage) -> None:
    await stage.until_ready()
    stage.drop(Dropped("logged off", 34))
    assert isinstance(await stage.end(), SteamUnreachable)
    assert stage.store.held == {}
    assert stage.store.cooldowns["axe"][0] > 60


async def test_a_spent_budget_cools_the_account_down_until_it_frees(stage: Stage) -> None:
    await stage.until_ready()
    stage.address.tell(BudgetSpent(3600.0))
    assert isinstance(await stage.end(), BudgetIsSpent)
    assert stage.states[-1] is BotState.EXHAUSTED
    assert stage.store.cooldowns["axe"][0] == 3600.0
    assert stage.script.deeds[-4:] == ["log_off", "close", "cool_down", "release"]


async def test_a_lost_lease_is_left_at_once_and_not_released(stage: Stage) -> None:
    await stage.until_ready()
    stage.store.held["axe"] = 99  # somebody newer
    await stage.clock.advance(LEASE_S / 3)
    assert isinstance(await stage.end(), LeaseLost)
    assert stage.script.deeds[-2:] == ["log_off", "close"]


async def test_who_is_served_learns_at_once_that_the_lease_is_lost(stage: Stage) -> None:
    await stage.until_ready()
    stage.script.held["request 5"] = asyncio.Event()
    stage.script.held["log_off"] = asyncio.Event()  # takes its time
    deadline = stage.clock.now() + 600
    asked = asyncio.create_task(stage.address.ask(ServeMatch(5, 5.0), deadline=deadline))
    await settle()
    stage.store.held["axe"] = 99  # somebody newer
    await stage.clock.advance(LEASE_S / 3)
    with pytest.raises(GcUnavailable):
        await asked
    stage.script.held["log_off"].set()
    assert isinstance(await stage.end(), LeaseLost)


async def test_a_lease_lost_while_draining_ends_the_wait_for_what_is_served(stage: Stage) -> None:
    await stage.until_ready()
    stage.script.held["request 5"] = asyncio.Event()
    deadline = stage.clock.now() + 600
    asked = asyncio.create_task(stage.address.ask(ServeMatch(5, 500.0), deadline=deadline))
    await settle()
    stage.bot.stop()
    await settle()
    assert "log_off" not in stage.script.deeds
    stage.store.held["axe"] = 99  # somebody newer
    await stage.clock.advance(LEASE_S / 3)
    assert await stage.end() is None
    with pytest.raises(GcUnavailable):
        await asked
    assert "log_off" in stage.script.deeds
    assert stage.states[-1] is BotState.STOPPED


async def test_an_unreachable_redis_fences_the_bot_before_its_lease_ends(stage: Stage) -> None:
    await stage.until_ready()
    began = stage.clock.now()
    stage.script.errors["renew"] = StoreUnavailable("renew")
    while not stage.life.done():
        stage.script.errors["renew"] = StoreUnavailable("renew")
        await stage.clock.advance(1.0)
    assert isinstance(stage.life.exception(), LeaseLost)
    assert stage.clock.now() - began <= LEASE_S - 8.0


async def test_a_lost_gc_session_takes_the_seat_away_until_it_is_back(stage: Stage) -> None:
    await stage.until_ready()
    stage.drop(GcLost("no session"))
    assert stage.changes[-1].state is BotState.LAUNCHING
    assert stage.changes[-1].seat is None
    stage.drop(GcReady())
    assert stage.changes[-1].seat is not None


async def test_a_gc_session_that_does_not_return_ends_the_life(stage: Stage) -> None:
    await stage.until_ready()
    stage.drop(GcLost("no session"))
    await stage.clock.advance(61.0)
    assert isinstance(await stage.end(), GcUnavailable)
    assert stage.script.deeds[-3:] == LETTING_GO


async def test_a_request_to_a_bot_without_a_gc_session_fails_at_once(stage: Stage) -> None:
    await stage.until_ready()
    stage.drop(GcLost("no session"))
    with pytest.raises(GcUnavailable):
        await stage.address.ask(ServeMatch(5, 5.0), deadline=stage.clock.now() + 60)


async def test_after_its_life_nobody_waits_for_a_bot_in_vain(stage: Stage) -> None:
    await stage.until_ready()
    stage.drop(Dropped("gone"))
    await stage.end()
    with pytest.raises(ActorStopped):
        await stage.address.ask(ServeMatch(5, 5.0), deadline=stage.clock.now() + 60)


async def test_waiting_is_silent_however_long_it_takes(stage: Stage) -> None:
    stage.pacing.waits = [Wait(10.0, "pacing"), Wait(60.0, "rate-limit")] * 100
    with capture_logs() as lines:
        await stage.until_settled()
        begun = len(lines)
        assert begun > 0
        await stage.clock.advance(3600.0)
        assert len(stage.pacing.asked) > 50
        assert lines[begun:] == []


async def test_a_bot_without_an_account_is_silent(stage: Stage) -> None:
    for _ in range(2):
        await stage.store.acquire("somebody else")
    with capture_logs() as lines:
        await stage.until_settled()
        await stage.clock.advance(3600.0)
        assert stage.script.deeds.count("acquire") > 300
        assert lines == []


REFUSALS: list[tuple[str, ServiceError, BotState, bool, bool]] = [
    # deed, error, state, the account cools down, the CM is marked bad
    ("open", SteamUnreachable("connect", "refused"), BotState.BACKING_OFF, False, True),
    ("authenticate", LogOnRefused("credentials", 5), BotState.BACKING_OFF, True, False),
    ("authenticate", LogOnRefused("credentials", 84), BotState.BACKING_OFF, False, False),
    ("authenticate", NeedsHuman("axe", "a code"), BotState.NEEDS_HUMAN, True, False),
    ("log_on", LogOnRefused("logon", 20), BotState.BACKING_OFF, False, True),
    ("log_on", LogOnRefused("logon", 43), BotState.NEEDS_HUMAN, True, False),
    ("log_on", LogOnRefused("logon", 87), BotState.BACKING_OFF, True, False),
    ("log_on", LogOnRefused("logon", 4711), BotState.BACKING_OFF, True, False),
    ("load_auth", CannotUnseal("axe", "auth state"), BotState.NEEDS_HUMAN, True, False),
    ("credential", NoPassword("axe"), BotState.NEEDS_HUMAN, True, False),
    ("launch", GcUnavailable("no welcome"), BotState.BACKING_OFF, False, False),
]


@pytest.mark.parametrize(("deed", "error", "state", "cools", "cm_is_bad"), REFUSALS)
async def test_a_refusal_ends_the_life_in_the_state_that_fits(
    stage: Stage, deed: str, error: ServiceError, state: BotState, *, cools: bool, cm_is_bad: bool
) -> None:
    stage.script.errors[deed] = error
    assert await stage.end() is error
    assert stage.states[-1] is state
    assert bool(stage.store.cooldowns) is cools
    assert stage.directory.bad == ([SERVER] if cm_is_bad else [])


async def test_a_rate_limit_stops_everybody_behind_the_ip(stage: Stage) -> None:
    stage.script.errors["authenticate"] = LogOnRefused("credentials", 84)
    await stage.end()
    assert stage.pacing.limited == 1


async def test_a_log_on_waits_for_its_turn_and_then_says_where_it_came_from(stage: Stage) -> None:
    stage.pacing.waits = [Wait(10.0, "pacing"), Wait(2000.0, "rate-limit")]
    await stage.until_settled()
    assert stage.changes[-1].state is BotState.CONNECTING
    assert stage.changes[-1].reason == "pacing: a log-on may start in 10 s"
    await stage.clock.advance(12.0)
    assert "open" not in stage.script.deeds
    await stage.clock.advance(32.0)
    assert stage.states[-1] is BotState.READY
    assert stage.pacing.asked == [True] * 3
    assert stage.pacing.ips == ["192.0.2.1"]


async def test_a_log_on_with_a_token_says_so(stage: Stage) -> None:
    stage.store.auth["axe"] = AuthState(7, "stored", None)
    await stage.until_ready()
    assert stage.pacing.asked == [False]


async def test_a_dead_token_is_forgotten_before_the_life_ends(stage: Stage) -> None:
    stage.store.auth["axe"] = AuthState(7, "stored", "guard")
    stage.script.errors["log_on"] = LogOnRefused("logon", 15)
    await stage.end()
    assert stage.store.auth["axe"] == AuthState(7, "", "guard")
    assert stage.store.cooldowns == {}


async def test_a_fresh_token_that_is_refused_is_no_loop_of_passwords(stage: Stage) -> None:
    stage.script.errors["log_on"] = LogOnRefused("logon", 15)
    await stage.end()
    assert stage.store.cooldowns["axe"][0] == 1800.0


async def test_a_new_token_is_held_while_redis_is_away_and_stored_when_it_is_back(
    stage: Stage,
) -> None:
    stage.script.errors["save_auth"] = StoreUnavailable("save_auth")
    await stage.until_settled()
    assert stage.store.auth == {}
    assert "log_on" not in stage.script.deeds
    await stage.clock.advance(1.0)
    assert stage.store.auth["axe"].refresh_token == "token of axe"
    assert stage.states[-1] is BotState.READY


@pytest.mark.parametrize("deed", ["acquire", "open", "authenticate", "log_on", "launch"])
async def test_a_stop_at_any_moment_ends_the_life_without_blame(stage: Stage, deed: str) -> None:
    stage.script.held[deed] = asyncio.Event()
    await stage.until_settled()
    assert stage.script.deeds[-1] == deed
    stage.bot.stop()
    assert await stage.end() is None
    assert stage.states[-1] is BotState.STOPPED


async def test_no_free_account_is_waited_for_and_says_when_a_budget_frees(clock: FakeClock) -> None:
    script, changes = Script(), list[BotChanged]()
    ports = BotPorts(
        store=Store(script, []),
        steam=FakeSteam(script),
        directory=FakeDirectory(),
        pacing=FakePacing(),
        on_guard=nobody,
        publish=changes.append,
        clock=clock,
        wall=clock.wall,
        rng=random.Random(1),
        log=structlog.get_logger(),
    )
    bot = Bot(
        "bot-1",
        "us/bot-1",
        address=Address("bot-1"),
        memory=BotMemory(),
        ports=ports,
        policy=BotPolicy(lease_s=LEASE_S, fence_margin_s=8.0),
    )
    await bot.start()
    life = asyncio.create_task(bot.run())
    await clock.advance(20.0)
    assert script.deeds.count("acquire") in range(3, 10)
    assert changes[-1].budget_frees_in == 30.0
    bot.stop()
    await life


def ending_token(clock: FakeClock, days: float) -> str:
    exp = clock.wall() + days * 86400
    claims = base64.urlsafe_b64encode(json.dumps({"exp": exp}).encode()).decode().rstrip("=")
    return f"head.{claims}.signature"


async def test_a_token_near_its_end_is_renewed_and_stored(stage: Stage) -> None:
    stage.store.auth["axe"] = AuthState(7, ending_token(stage.clock, 20), "guard")
    await stage.until_ready()
    assert stage.store.auth["axe"] == AuthState(7, "newer token", "guard")


async def test_a_renewal_under_way_is_finished_before_the_log_off(stage: Stage) -> None:
    stage.store.auth["axe"] = AuthState(7, ending_token(stage.clock, 20), "guard")
    hold = stage.script.held["renew_token"] = asyncio.Event()
    await stage.until_ready()
    stage.bot.stop()
    await settle()
    assert "log_off" not in stage.script.deeds
    hold.set()
    assert await stage.end() is None
    assert stage.store.auth["axe"].refresh_token == "newer token"
    assert stage.script.deeds[-3:] == LETTING_GO


async def test_a_token_with_time_left_is_not_renewed(stage: Stage) -> None:
    stage.store.auth["axe"] = AuthState(7, ending_token(stage.clock, 100), "guard")
    await stage.until_ready()
    assert "renew_token" not in stage.script.deeds
