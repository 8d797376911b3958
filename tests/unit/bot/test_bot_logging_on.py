"""How a bot logs on, in virtual time: with what, when, and what a refusal means for its life."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs
from support.bot_unit_env import BotUnitEnv, bot_unit_env
from support.exposition import Exposition
from support.fake_clock import FakeClock, settle
from support.fake_steam import SERVER, refresh_token

from actors.accounts.logon_limiter import Wait
from actors.accounts.models import UNTIL_ACTED_S
from actors.bot.shared_causes import CauseKind
from actors.bot.states import BotState
from actors.errors import (
    CannotUnseal,
    GcUnavailable,
    LogOnRefused,
    NeedsHuman,
    NoPassword,
    SameSteamAccount,
    ServiceError,
    SteamUnreachable,
    StoreUnavailable,
)
from actors.metrics import Format
from actors.steam.port import AuthState, Dropped

pytestmark = pytest.mark.usefixtures("no_leaks")

LETTING_GO = ["log_off", "close", "release"]


async def test_a_first_life_takes_the_password_and_stores_the_token_before_using_it(
    stage: BotUnitEnv,
) -> None:
    await stage.until_ready()
    assert stage.script.calls == [
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


async def test_a_stored_token_is_used_and_the_password_not_touched(stage: BotUnitEnv) -> None:
    stage.store.auth["axe"] = AuthState(7, refresh_token(), None)
    await stage.until_ready()
    assert "credential" not in stage.script.calls
    assert "save_auth" not in stage.script.calls


@pytest.mark.parametrize(("deed", "stored"), [("save_auth", False), ("load_auth", True)])
async def test_a_second_name_of_a_steam_account_in_use_is_left_before_its_log_on(
    stage: BotUnitEnv,
    deed: str,
    stored: bool,  # noqa: FBT001 - a case
) -> None:
    if stored:
        stage.store.auth["axe"] = AuthState(7, "stored", None)
    stage.script.errors[deed] = same = SameSteamAccount("axe", 1, "Axe")
    assert await stage.end() is same
    assert "log_on" not in stage.script.calls
    assert "launch" not in stage.script.calls
    assert stage.store.cooldowns == {}
    assert stage.changes[-1].reason == "axe is the same Steam account as Axe, which is in use"


async def test_what_steam_said_before_it_hung_up_is_heard(stage: BotUnitEnv) -> None:
    """It closes the connection after every refusal, and a dead token must not be tried for ever."""
    stage.store.auth["axe"] = AuthState(7, refresh_token(), "guard")
    held = stage.script.held["log_on"] = asyncio.Event()
    stage.script.errors["log_on"] = LogOnRefused("logon", 15)
    await stage.until_settled()
    stage.drop(Dropped("closed"))
    await stage.until_settled()
    held.set()
    assert isinstance(await stage.end(), LogOnRefused)
    assert stage.store.auth["axe"] == AuthState(7, "", "guard")
    assert stage.store.held == {}


async def test_a_token_is_stored_though_its_connection_broke(stage: BotUnitEnv) -> None:
    held = stage.script.held["save_auth"] = asyncio.Event()
    await stage.until_settled()
    stage.drop(Dropped("gone"))
    await stage.until_settled()
    held.set()
    assert isinstance(await stage.end(), SteamUnreachable)
    assert stage.store.auth["axe"].refresh_token == "token of axe"


async def test_a_connection_that_broke_during_the_log_on_makes_no_bot_ready(
    stage: BotUnitEnv,
) -> None:
    held = stage.script.held["log_on"] = asyncio.Event()
    await stage.until_settled()
    stage.drop(Dropped("logged off", 34))
    held.set()
    ended = await stage.end()
    assert isinstance(ended, SteamUnreachable)
    assert ended.eresult == 34
    assert "launch" not in stage.script.calls
    assert BotState.LAUNCHING not in stage.states


async def test_waiting_is_silent_however_long_it_takes(stage: BotUnitEnv) -> None:
    stage.limiter.waits = [Wait(10.0, "pacing"), Wait(60.0, "rate-limit")] * 100
    with capture_logs() as lines:
        await stage.until_settled()
        begun = len(lines)
        assert begun > 0
        await stage.clock.advance(3600.0)
        assert len(stage.limiter.asked) > 50
        assert lines[begun:] == []


REFUSALS: list[tuple[str, ServiceError, BotState, bool, bool]] = [
    # deed, error, state, the account cools down, the CM is marked bad
    ("open", SteamUnreachable("connect", "refused"), BotState.BACKING_OFF, False, True),
    ("authenticate", LogOnRefused("credentials", 5), BotState.NEEDS_HUMAN, True, False),
    ("authenticate", LogOnRefused("credentials", 84), BotState.BACKING_OFF, False, False),
    ("authenticate", NeedsHuman("axe", "a code"), BotState.NEEDS_HUMAN, True, False),
    ("log_on", LogOnRefused("logon", 20), BotState.BACKING_OFF, False, True),
    ("log_on", LogOnRefused("logon", 43), BotState.BACKING_OFF, True, False),
    ("log_on", LogOnRefused("logon", 87), BotState.BACKING_OFF, True, False),
    ("log_on", LogOnRefused("logon", 4711), BotState.BACKING_OFF, True, False),
    ("load_auth", CannotUnseal("axe", "auth state"), BotState.BACKING_OFF, False, False),
    ("credential", NoPassword("axe"), BotState.NEEDS_HUMAN, True, False),
    ("launch", GcUnavailable("no welcome"), BotState.BACKING_OFF, False, False),
]


@pytest.mark.parametrize(("deed", "error", "state", "cools", "cm_is_bad"), REFUSALS)
async def test_a_refusal_ends_the_life_in_the_state_that_fits(
    stage: BotUnitEnv,
    deed: str,
    error: ServiceError,
    state: BotState,
    *,
    cools: bool,
    cm_is_bad: bool,
) -> None:
    stage.script.errors[deed] = error
    assert await stage.end() is error
    assert stage.states[-1] is state
    assert bool(stage.store.cooldowns) is cools
    assert stage.directory.bad == ([SERVER] if cm_is_bad else [])


async def test_a_rate_limit_stops_all_log_ons_from_the_ip(stage: BotUnitEnv) -> None:
    stage.script.errors["authenticate"] = LogOnRefused("credentials", 84)
    await stage.end()
    assert stage.limiter.limited == 1
    assert circuit_open_s(stage) == 2100.0


def circuit_open_s(stage: BotUnitEnv) -> float:
    text = stage.instruments.written(Format.TEXT).decode()
    return Exposition(text).value("botapi_logon_circuit_open_seconds")


async def test_a_log_on_waits_for_its_turn_and_then_says_where_it_came_from(
    stage: BotUnitEnv,
) -> None:
    stage.limiter.waits = [Wait(10.0, "pacing"), Wait(2000.0, "rate-limit")]
    await stage.until_settled()
    assert stage.changes[-1].state is BotState.CONNECTING
    waiting = stage.changes[-1]
    assert (waiting.waits, waiting.goes_on_in, waiting.reason) == ("pacing", 10.0, None)
    await stage.clock.advance(12.0)
    assert "open" not in stage.script.calls
    assert circuit_open_s(stage) > 1900.0
    await stage.clock.advance(32.0)
    assert circuit_open_s(stage) == 0
    assert stage.states[-1] is BotState.READY
    assert stage.limiter.asked == [True] * 3
    assert stage.limiter.ips == ["192.0.2.1"]


async def test_a_log_on_is_not_thrown_away_because_it_cannot_be_noted(stage: BotUnitEnv) -> None:
    stage.script.errors["note_logon"] = StoreUnavailable("note_logon", "OOM command not allowed")
    await stage.until_ready()
    await stage.clock.advance(20.0)
    assert stage.states[-1] is BotState.READY
    assert stage.store.logged_on == []
    del stage.script.errors["note_logon"]
    await stage.clock.advance(20.0)
    assert stage.store.logged_on == ["axe"]
    stage.bot.stop()
    assert await stage.end() is None


async def test_steam_is_not_asked_while_redis_cannot_write(stage: BotUnitEnv) -> None:
    stage.limiter.error = StoreUnavailable("logon_ask", "OOM command not allowed")
    assert isinstance(await stage.end(), StoreUnavailable)
    assert stage.script.calls == ["acquire", "load_auth"]
    assert stage.states[-1] is BotState.BACKING_OFF


async def test_a_log_on_with_a_token_says_so(stage: BotUnitEnv) -> None:
    stage.store.auth["axe"] = AuthState(7, refresh_token(), None)
    await stage.until_ready()
    assert stage.limiter.asked == [False]


async def test_a_dead_token_is_forgotten_before_the_life_ends(stage: BotUnitEnv) -> None:
    stage.store.auth["axe"] = AuthState(7, refresh_token(), "guard")
    stage.script.errors["log_on"] = LogOnRefused("logon", 15)
    await stage.end()
    assert stage.store.auth["axe"] == AuthState(7, "", "guard")
    assert stage.store.cooldowns == {}


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("stored", "it is no token"),
        ("head.%%%.signature", "it is no token"),
        ("head.W10.signature", "it is no token"),  # a list
        (refresh_token(iss="r:1234"), "Steam has not issued it as a refresh token"),
        (refresh_token(aud=["web", "renew", "derive"]), "it is not for the Steam client"),
        (refresh_token(aud=["client", "web"]), "it is not for the Steam client"),
        (refresh_token(aud="client derive"), "it is not for the Steam client"),
        (refresh_token(sub="8"), "it is of another account"),
        (refresh_token(exp=None), "it has expired"),
        (refresh_token(exp=1_500_000_000), "it has expired"),
    ],
)
async def test_a_token_that_cannot_work_is_not_shown_and_the_password_is_taken_in_the_same_life(
    stage: BotUnitEnv, token: str, reason: str
) -> None:
    stage.store.auth["axe"] = AuthState(7, token, "guard")
    with capture_logs() as lines:
        await stage.until_ready()
    assert stage.script.calls.count("log_on") == 1
    assert stage.limiter.asked == [True]
    assert stage.store.auth["axe"] == AuthState(7, "token of axe", "guard")
    unusable = [one for one in lines if one["event"] == "token_unusable"]
    assert [one["reason"] for one in unusable] == [reason]


@pytest.mark.parametrize(
    ("seconds_left", "with_password"), [(299.0, True), (300.0, True), (301.0, False)]
)
async def test_a_token_about_to_expire_counts_as_expired(
    stage: BotUnitEnv, seconds_left: float, *, with_password: bool
) -> None:
    left = ending_token(stage.clock, seconds_left / 86400)
    stage.store.auth["axe"] = AuthState(7, left, "guard")
    await stage.until_settled()
    assert stage.limiter.asked == [with_password]


@pytest.mark.parametrize("eresult", [5, 15, 26, 27, 126])
async def test_a_dead_token_is_no_failure_as_the_password_is_tried_next(
    stage: BotUnitEnv, eresult: int
) -> None:
    stage.store.auth["axe"] = AuthState(7, refresh_token(), "guard")
    stage.script.errors["log_on"] = LogOnRefused("logon", eresult)
    ended = await stage.end()
    assert getattr(ended, "is_blameless") is True  # noqa: B009 - what the supervisor looks at


@pytest.mark.parametrize("eresult", [5, 15, 26, 27, 126])
async def test_a_password_whose_token_is_refused_is_a_failure(
    stage: BotUnitEnv, eresult: int
) -> None:
    stage.script.errors["log_on"] = LogOnRefused("logon", eresult)
    ended = await stage.end()
    assert getattr(ended, "is_blameless") is False  # noqa: B009 - as above


async def test_a_bot_without_an_account_is_part_of_no_shared_cause(clock: FakeClock) -> None:
    async with bot_unit_env(clock, accounts=()) as stage:
        refused = SteamUnreachable("connect", "refused")
        stage.causes.failed("bot-1", "axe", refused, None, clock.wall())
        assert len(stage.causes.active(clock.wall())) == 1
        await stage.until_settled()
        assert stage.causes.active(clock.wall()) == ()


@pytest.mark.parametrize("deed", ["pick", "open"])
@pytest.mark.parametrize("with_password", [True, False])
async def test_a_log_on_that_never_reached_steam_is_refunded(
    stage: BotUnitEnv, deed: str, *, with_password: bool
) -> None:
    if not with_password:
        stage.store.auth["axe"] = AuthState(7, refresh_token(), None)
    stage.script.errors[deed] = SteamUnreachable("connect", "refused")
    await stage.end()
    assert stage.limiter.asked == stage.limiter.refunded == [with_password]


async def test_a_log_on_that_reached_steam_stays_counted(stage: BotUnitEnv) -> None:
    stage.script.errors["log_on"] = SteamUnreachable("logon", "no answer in time")
    await stage.end()
    assert stage.limiter.refunded == []


async def test_a_bot_that_waits_for_the_end_of_a_limit_names_it(stage: BotUnitEnv) -> None:
    stage.limiter.waits = [Wait(10.0, "pacing"), Wait(2000.0, "rate-limit", "192.0.2.1")]
    await stage.until_settled()
    assert stage.causes.active(stage.clock.wall()) == ()
    await stage.clock.advance(12.0)
    (cause,) = stage.causes.active(stage.clock.wall())
    assert (cause.kind, cause.address, cause.bots) == (
        CauseKind.LOGONS_LIMITED,
        "192.0.2.1",
        frozenset({"bot-1"}),
    )
    assert cause.until == pytest.approx(stage.clock.wall() + 2000.0, abs=3.0)
    await stage.clock.advance(60.0)
    assert stage.states[-1] is BotState.READY
    assert stage.causes.active(stage.clock.wall()) == ()


async def test_a_fresh_token_that_is_refused_is_no_loop_of_passwords(stage: BotUnitEnv) -> None:
    stage.script.errors["log_on"] = LogOnRefused("logon", 15)
    await stage.end()
    assert stage.store.cooldowns["axe"][0] == UNTIL_ACTED_S


async def test_a_new_token_is_held_while_redis_is_away_and_stored_when_it_is_back(
    stage: BotUnitEnv,
) -> None:
    stage.script.errors["save_auth"] = StoreUnavailable("save_auth")
    await stage.until_settled()
    assert stage.store.auth == {}
    assert "log_on" not in stage.script.calls
    await stage.clock.advance(1.0)
    assert stage.store.auth["axe"].refresh_token == "token of axe"
    assert stage.states[-1] is BotState.READY


def ending_token(clock: FakeClock, days: float) -> str:
    return refresh_token(exp=clock.wall() + days * 86400)


async def test_a_token_near_its_end_is_renewed_and_stored(stage: BotUnitEnv) -> None:
    stage.store.auth["axe"] = AuthState(7, ending_token(stage.clock, 20), "guard")
    await stage.until_ready()
    assert stage.store.auth["axe"] == AuthState(7, "newer token", "guard")


async def test_a_renewal_under_way_is_finished_before_the_log_off(stage: BotUnitEnv) -> None:
    stage.store.auth["axe"] = AuthState(7, ending_token(stage.clock, 20), "guard")
    hold = stage.script.held["renew_token"] = asyncio.Event()
    await stage.until_ready()
    stage.bot.stop()
    await settle()
    assert "log_off" not in stage.script.calls
    hold.set()
    assert await stage.end() is None
    assert stage.store.auth["axe"].refresh_token == "newer token"
    assert stage.script.calls[-3:] == LETTING_GO


async def test_a_token_with_time_left_is_not_renewed(stage: BotUnitEnv) -> None:
    stage.store.auth["axe"] = AuthState(7, ending_token(stage.clock, 100), "guard")
    await stage.until_ready()
    assert "renew_token" not in stage.script.calls
