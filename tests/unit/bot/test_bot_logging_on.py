"""Log-on of a bot, in virtual time: credentials, timing, and refusals."""

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
    CannotDecrypt,
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
    bot_env: BotUnitEnv,
) -> None:
    await bot_env.until_ready()
    assert bot_env.script.calls == [
        "acquire", "load_auth", "open", "credential", "authenticate", "save_auth", "log_on", "launch",
    ]  # fmt: skip
    assert bot_env.states == [
        BotState.WAITING_FOR_ACCOUNT,
        BotState.CONNECTING,
        BotState.AUTHENTICATING,
        BotState.LAUNCHING,
        BotState.READY,
    ]
    ready_bot = bot_env.changes[-1].ready_bot
    assert ready_bot is not None
    assert (ready_bot.account, ready_bot.fencing_token, ready_bot.ip) == ("axe", 1, "192.0.2.1")


async def test_a_stored_token_is_used_and_the_password_not_touched(bot_env: BotUnitEnv) -> None:
    bot_env.store.auth["axe"] = AuthState(7, refresh_token(), None)
    await bot_env.until_ready()
    assert "credential" not in bot_env.script.calls
    assert "save_auth" not in bot_env.script.calls


@pytest.mark.parametrize(("deed", "stored"), [("save_auth", False), ("load_auth", True)])
async def test_a_second_name_of_a_steam_account_in_use_is_left_before_its_log_on(
    bot_env: BotUnitEnv,
    deed: str,
    stored: bool,  # noqa: FBT001 - a case
) -> None:
    if stored:
        bot_env.store.auth["axe"] = AuthState(7, "stored", None)
    bot_env.script.errors[deed] = same = SameSteamAccount("axe", 1, "Axe")
    assert await bot_env.end() is same
    assert "log_on" not in bot_env.script.calls
    assert "launch" not in bot_env.script.calls
    assert bot_env.store.cooldowns == {}
    assert bot_env.changes[-1].reason == "axe is the same Steam account as Axe, which is in use"


async def test_what_steam_said_before_it_hung_up_is_heard(bot_env: BotUnitEnv) -> None:
    """Steam closes the connection after a refusal; a dead token must not be retried."""
    bot_env.store.auth["axe"] = AuthState(7, refresh_token(), "guard")
    held = bot_env.script.held["log_on"] = asyncio.Event()
    bot_env.script.errors["log_on"] = LogOnRefused("logon", 15)
    await bot_env.until_settled()
    bot_env.drop(Dropped("closed"))
    await bot_env.until_settled()
    held.set()
    assert isinstance(await bot_env.end(), LogOnRefused)
    assert bot_env.store.auth["axe"] == AuthState(7, "", "guard")
    assert bot_env.store.held == {}


async def test_a_token_is_stored_though_its_connection_broke(bot_env: BotUnitEnv) -> None:
    held = bot_env.script.held["save_auth"] = asyncio.Event()
    await bot_env.until_settled()
    bot_env.drop(Dropped("gone"))
    await bot_env.until_settled()
    held.set()
    assert isinstance(await bot_env.end(), SteamUnreachable)
    assert bot_env.store.auth["axe"].refresh_token == "token of axe"


async def test_a_connection_that_broke_during_the_log_on_makes_no_bot_ready(
    bot_env: BotUnitEnv,
) -> None:
    held = bot_env.script.held["log_on"] = asyncio.Event()
    await bot_env.until_settled()
    bot_env.drop(Dropped("logged off", 34))
    held.set()
    ended = await bot_env.end()
    assert isinstance(ended, SteamUnreachable)
    assert ended.eresult == 34
    assert "launch" not in bot_env.script.calls
    assert BotState.LAUNCHING not in bot_env.states


async def test_waiting_is_silent_however_long_it_takes(bot_env: BotUnitEnv) -> None:
    bot_env.limiter.waits = [Wait(10.0, "pacing"), Wait(60.0, "rate-limit")] * 100
    with capture_logs() as lines:
        await bot_env.until_settled()
        begun = len(lines)
        assert begun > 0
        await bot_env.clock.advance(3600.0)
        assert len(bot_env.limiter.asked) > 50
        assert lines[begun:] == []


REFUSALS: list[tuple[str, ServiceError, BotState, bool, bool]] = [
    # call, error, state, the account cools down, the CM is marked bad
    ("open", SteamUnreachable("connect", "refused"), BotState.BACKING_OFF, False, True),
    ("authenticate", LogOnRefused("credentials", 5), BotState.NEEDS_HUMAN, True, False),
    ("authenticate", LogOnRefused("credentials", 84), BotState.BACKING_OFF, False, False),
    ("authenticate", NeedsHuman("axe", "a code"), BotState.NEEDS_HUMAN, True, False),
    ("log_on", LogOnRefused("logon", 20), BotState.BACKING_OFF, False, True),
    ("log_on", LogOnRefused("logon", 43), BotState.BACKING_OFF, True, False),
    ("log_on", LogOnRefused("logon", 87), BotState.BACKING_OFF, True, False),
    ("log_on", LogOnRefused("logon", 4711), BotState.BACKING_OFF, True, False),
    ("load_auth", CannotDecrypt("axe", "auth state"), BotState.BACKING_OFF, False, False),
    ("credential", NoPassword("axe"), BotState.NEEDS_HUMAN, True, False),
    ("launch", GcUnavailable("no welcome"), BotState.BACKING_OFF, False, False),
]


@pytest.mark.parametrize(("deed", "error", "state", "cools", "cm_is_bad"), REFUSALS)
async def test_a_refusal_ends_the_life_in_the_state_that_fits(
    bot_env: BotUnitEnv,
    deed: str,
    error: ServiceError,
    state: BotState,
    *,
    cools: bool,
    cm_is_bad: bool,
) -> None:
    bot_env.script.errors[deed] = error
    assert await bot_env.end() is error
    assert bot_env.states[-1] is state
    assert bool(bot_env.store.cooldowns) is cools
    assert bot_env.directory.bad == ([SERVER] if cm_is_bad else [])


async def test_a_rate_limit_stops_all_log_ons_from_the_ip(bot_env: BotUnitEnv) -> None:
    bot_env.script.errors["authenticate"] = LogOnRefused("credentials", 84)
    await bot_env.end()
    assert bot_env.limiter.limited == 1
    assert circuit_open_s(bot_env) == 2100.0


def circuit_open_s(bot_env: BotUnitEnv) -> float:
    text = bot_env.instruments.written(Format.TEXT).decode()
    return Exposition(text).value("botapi_logon_circuit_open_seconds")


async def test_a_log_on_waits_for_its_turn_and_then_says_where_it_came_from(
    bot_env: BotUnitEnv,
) -> None:
    bot_env.limiter.waits = [Wait(10.0, "pacing"), Wait(2000.0, "rate-limit")]
    await bot_env.until_settled()
    assert bot_env.changes[-1].state is BotState.CONNECTING
    waiting = bot_env.changes[-1]
    assert (waiting.waits, waiting.goes_on_in, waiting.reason) == ("pacing", 10.0, None)
    await bot_env.clock.advance(12.0)
    assert "open" not in bot_env.script.calls
    assert circuit_open_s(bot_env) > 1900.0
    await bot_env.clock.advance(32.0)
    assert circuit_open_s(bot_env) == 0
    assert bot_env.states[-1] is BotState.READY
    assert bot_env.limiter.asked == [True] * 3
    assert bot_env.limiter.ips == ["192.0.2.1"]


async def test_a_log_on_is_not_thrown_away_because_it_cannot_be_noted(bot_env: BotUnitEnv) -> None:
    bot_env.script.errors["note_logon"] = StoreUnavailable("note_logon", "OOM command not allowed")
    await bot_env.until_ready()
    await bot_env.clock.advance(20.0)
    assert bot_env.states[-1] is BotState.READY
    assert bot_env.store.logged_on == []
    del bot_env.script.errors["note_logon"]
    await bot_env.clock.advance(20.0)
    assert bot_env.store.logged_on == ["axe"]
    bot_env.bot.stop()
    assert await bot_env.end() is None


async def test_steam_is_not_asked_while_redis_cannot_write(bot_env: BotUnitEnv) -> None:
    bot_env.limiter.error = StoreUnavailable("logon_ask", "OOM command not allowed")
    assert isinstance(await bot_env.end(), StoreUnavailable)
    assert bot_env.script.calls == ["acquire", "load_auth"]
    assert bot_env.states[-1] is BotState.BACKING_OFF


async def test_a_log_on_with_a_token_says_so(bot_env: BotUnitEnv) -> None:
    bot_env.store.auth["axe"] = AuthState(7, refresh_token(), None)
    await bot_env.until_ready()
    assert bot_env.limiter.asked == [False]


async def test_a_dead_token_is_forgotten_before_the_life_ends(bot_env: BotUnitEnv) -> None:
    bot_env.store.auth["axe"] = AuthState(7, refresh_token(), "guard")
    bot_env.script.errors["log_on"] = LogOnRefused("logon", 15)
    await bot_env.end()
    assert bot_env.store.auth["axe"] == AuthState(7, "", "guard")
    assert bot_env.store.cooldowns == {}


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
    bot_env: BotUnitEnv, token: str, reason: str
) -> None:
    bot_env.store.auth["axe"] = AuthState(7, token, "guard")
    with capture_logs() as lines:
        await bot_env.until_ready()
    assert bot_env.script.calls.count("log_on") == 1
    assert bot_env.limiter.asked == [True]
    assert bot_env.store.auth["axe"] == AuthState(7, "token of axe", "guard")
    unusable = [one for one in lines if one["event"] == "token_unusable"]
    assert [one["reason"] for one in unusable] == [reason]


@pytest.mark.parametrize(
    ("seconds_left", "with_password"), [(299.0, True), (300.0, True), (301.0, False)]
)
async def test_a_token_about_to_expire_counts_as_expired(
    bot_env: BotUnitEnv, seconds_left: float, *, with_password: bool
) -> None:
    left = ending_token(bot_env.clock, seconds_left / 86400)
    bot_env.store.auth["axe"] = AuthState(7, left, "guard")
    await bot_env.until_settled()
    assert bot_env.limiter.asked == [with_password]


@pytest.mark.parametrize("eresult", [5, 15, 26, 27, 126])
async def test_a_dead_token_is_no_failure_as_the_password_is_tried_next(
    bot_env: BotUnitEnv, eresult: int
) -> None:
    bot_env.store.auth["axe"] = AuthState(7, refresh_token(), "guard")
    bot_env.script.errors["log_on"] = LogOnRefused("logon", eresult)
    ended = await bot_env.end()
    assert getattr(ended, "is_blameless") is True  # noqa: B009 - what the supervisor looks at


@pytest.mark.parametrize("eresult", [5, 15, 26, 27, 126])
async def test_a_password_whose_token_is_refused_is_a_failure(
    bot_env: BotUnitEnv, eresult: int
) -> None:
    bot_env.script.errors["log_on"] = LogOnRefused("logon", eresult)
    ended = await bot_env.end()
    assert getattr(ended, "is_blameless") is False  # noqa: B009 - as above


async def test_a_bot_without_an_account_is_part_of_no_shared_cause(clock: FakeClock) -> None:
    async with bot_unit_env(clock, accounts=()) as bot_env:
        refused = SteamUnreachable("connect", "refused")
        bot_env.causes.failed("bot-1", "axe", refused, clock.wall())
        assert len(bot_env.causes.active(clock.wall())) == 1
        await bot_env.until_settled()
        assert bot_env.causes.active(clock.wall()) == ()


@pytest.mark.parametrize("deed", ["pick", "open"])
@pytest.mark.parametrize("with_password", [True, False])
async def test_a_log_on_that_never_reached_steam_is_refunded(
    bot_env: BotUnitEnv, deed: str, *, with_password: bool
) -> None:
    if not with_password:
        bot_env.store.auth["axe"] = AuthState(7, refresh_token(), None)
    bot_env.script.errors[deed] = SteamUnreachable("connect", "refused")
    await bot_env.end()
    assert bot_env.limiter.asked == bot_env.limiter.refunded == [with_password]


async def test_a_log_on_that_reached_steam_stays_counted(bot_env: BotUnitEnv) -> None:
    bot_env.script.errors["log_on"] = SteamUnreachable("logon", "no answer in time")
    await bot_env.end()
    assert bot_env.limiter.refunded == []


async def test_a_bot_that_waits_for_the_end_of_a_limit_names_it(bot_env: BotUnitEnv) -> None:
    bot_env.limiter.waits = [Wait(10.0, "pacing"), Wait(2000.0, "rate-limit", "192.0.2.1")]
    await bot_env.until_settled()
    assert bot_env.causes.active(bot_env.clock.wall()) == ()
    await bot_env.clock.advance(12.0)
    (cause,) = bot_env.causes.active(bot_env.clock.wall())
    assert (cause.kind, cause.address, cause.bots) == (
        CauseKind.LOGONS_LIMITED,
        "192.0.2.1",
        frozenset({"bot-1"}),
    )
    assert cause.until == pytest.approx(bot_env.clock.wall() + 2000.0, abs=3.0)
    await bot_env.clock.advance(60.0)
    assert bot_env.states[-1] is BotState.READY
    assert bot_env.causes.active(bot_env.clock.wall()) == ()


async def test_a_fresh_token_that_is_refused_is_no_loop_of_passwords(bot_env: BotUnitEnv) -> None:
    bot_env.script.errors["log_on"] = LogOnRefused("logon", 15)
    await bot_env.end()
    assert bot_env.store.cooldowns["axe"][0] == UNTIL_ACTED_S


async def test_a_new_token_is_held_while_redis_is_away_and_stored_when_it_is_back(
    bot_env: BotUnitEnv,
) -> None:
    bot_env.script.errors["save_auth"] = StoreUnavailable("save_auth")
    await bot_env.until_settled()
    assert bot_env.store.auth == {}
    assert "log_on" not in bot_env.script.calls
    await bot_env.clock.advance(1.0)
    assert bot_env.store.auth["axe"].refresh_token == "token of axe"
    assert bot_env.states[-1] is BotState.READY


def ending_token(clock: FakeClock, days: float) -> str:
    return refresh_token(exp=clock.wall() + days * 86400)


async def test_a_token_near_its_end_is_renewed_and_stored(bot_env: BotUnitEnv) -> None:
    bot_env.store.auth["axe"] = AuthState(7, ending_token(bot_env.clock, 20), "guard")
    await bot_env.until_ready()
    assert bot_env.store.auth["axe"] == AuthState(7, "newer token", "guard")


async def test_a_renewal_under_way_is_finished_before_the_log_off(bot_env: BotUnitEnv) -> None:
    bot_env.store.auth["axe"] = AuthState(7, ending_token(bot_env.clock, 20), "guard")
    hold = bot_env.script.held["renew_token"] = asyncio.Event()
    await bot_env.until_ready()
    bot_env.bot.stop()
    await settle()
    assert "log_off" not in bot_env.script.calls
    hold.set()
    assert await bot_env.end() is None
    assert bot_env.store.auth["axe"].refresh_token == "newer token"
    assert bot_env.script.calls[-3:] == LETTING_GO


async def test_a_token_with_time_left_is_not_renewed(bot_env: BotUnitEnv) -> None:
    bot_env.store.auth["axe"] = AuthState(7, ending_token(bot_env.clock, 100), "guard")
    await bot_env.until_ready()
    assert "renew_token" not in bot_env.script.calls
