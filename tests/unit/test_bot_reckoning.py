"""What the end of a life means for the account, the CM, the address and the people."""

from __future__ import annotations

import random

import pytest
import structlog
from fake_clock import FakeClock
from fake_steam import SERVER, FakeDirectory, FakePacing, FakeSteam, FakeStore, Script
from structlog.testing import capture_logs

from actors.accounts.lease import Lease
from actors.bot_ports import BotPorts
from actors.errors import LeaseLost, LogOnRefused, NeedsHuman, SteamUnreachable, StoreUnavailable
from actors.needs import NEEDS
from actors.reckoning import Reckoning
from actors.steam.port import AuthState, GuardRequest
from actors.strikes import FORGET_S, Strikes, UnknownResults
from actors.verdicts import (
    MARKS_CM,
    NEEDS_PERSON,
    STOPS_IP,
    Verdict,
    is_known,
    verdict_on_password,
    verdict_on_token,
)

REPLACED = 34
HUMAN_S = 1800.0


async def nobody(_request: GuardRequest) -> str | None:
    return None


class Bench:
    """One account's lives, one after the other."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.script = Script()
        self.store = FakeStore(self.script, ["axe"])
        self.directory = FakeDirectory()
        self.pacing = FakePacing()
        self.ports = BotPorts(
            store=self.store,
            steam=FakeSteam(self.script),
            directory=self.directory,
            pacing=self.pacing,
            on_guard=nobody,
            publish=lambda _: None,
            clock=clock,
            wall=clock.wall,
            rng=random.Random(1),
            log=structlog.get_logger(),
        )

    async def life(self) -> tuple[Lease, Reckoning]:
        lease = await self.store.acquire("us")
        return lease, Reckoning(self.ports, lease, log=self.ports.log)

    async def ended(self, failure: Exception, *, logged_on: bool = False) -> Reckoning:
        """Live once more, to this end."""
        _, reckoning = await self.life()
        await reckoning.blame(SERVER, failure, logged_on=logged_on)
        await reckoning.let_go(failure, pause_s=None, patience_s=0.0)
        return reckoning


@pytest.fixture
def bench(clock: FakeClock) -> Bench:
    return Bench(clock)


def logged_off(eresult: int | None) -> SteamUnreachable:
    return SteamUnreachable("session", "logged off", eresult)


@pytest.mark.parametrize(
    ("eresult", "logged_on", "is_marked"),
    [
        (None, False, True),  # closed before the log-on was through
        (None, True, False),  # closed later: maintenance, or balancing of load
        (20, True, True),
        (48, True, True),
        (REPLACED, False, False),  # says something about the account, and nothing about the CM
    ],
)
async def test_a_cm_is_avoided_when_it_is_at_fault(
    bench: Bench, eresult: int | None, *, logged_on: bool, is_marked: bool
) -> None:
    await bench.ended(logged_off(eresult), logged_on=logged_on)
    assert bench.directory.bad == ([SERVER] if is_marked else [])


@pytest.mark.parametrize("eresult", [7, 25, 84, 87, 105])
async def test_a_limit_stops_everybody_behind_the_ip_also_when_logged_off_with_it(
    bench: Bench, eresult: int
) -> None:
    await bench.ended(logged_off(eresult), logged_on=True)
    assert bench.pacing.limited == 1


async def test_a_token_that_died_while_in_use_is_forgotten(bench: Bench) -> None:
    bench.store.auth["axe"] = AuthState(7, "token", "guard")
    await bench.ended(logged_off(26), logged_on=True)
    assert bench.store.auth["axe"] == AuthState(7, "", "guard")
    assert bench.store.cooldowns == {}


async def test_a_wrong_password_is_forgiven_once_and_then_a_person_is_told(bench: Bench) -> None:
    refused = [LogOnRefused("credentials", 5), LogOnRefused("credentials", 5)]
    with capture_logs() as told:
        first = await bench.ended(refused[0])
        second = await bench.ended(refused[1])
    assert first.ruling(refused[0]).need is None
    assert second.ruling(refused[1]).need == f"{NEEDS[5]} (result 5)"
    assert [one["event"] for one in told] == ["account_needs_human"]


async def test_what_ended_a_life_is_one_strike_however_often_it_is_judged(bench: Bench) -> None:
    refused = LogOnRefused("credentials", 5)
    reckoning = await bench.ended(refused)
    assert reckoning.ruling(refused).verdict is Verdict.WRONG_PASSWORD
    assert reckoning.ruling(refused).verdict is Verdict.WRONG_PASSWORD


async def test_an_account_that_somebody_plays_on_is_left_alone_longer_each_time(
    bench: Bench,
) -> None:
    pauses = []
    for _ in range(6):
        await bench.ended(logged_off(6), logged_on=True)
        pauses.append(bench.store.cooldowns["axe"][0])
    assert pauses == [300.0, 600.0, 1200.0, 2400.0, 3600.0, 3600.0]


async def test_an_unknown_result_is_tried_three_times_and_told_once(bench: Bench) -> None:
    with capture_logs() as told:
        pauses = []
        for _ in range(4):
            await bench.ended(LogOnRefused("logon", 4711))
            pauses.append(bench.store.cooldowns["axe"][0])
    assert pauses == [120.0, 240.0, HUMAN_S, HUMAN_S]
    unknown = [one for one in told if one["event"] == "eresult_unknown"]
    assert [(one["eresult"], one["phase"], one["log_level"]) for one in unknown] == [
        (4711, "logon", "warning")
    ]


async def test_being_logged_off_with_an_unknown_result_is_no_strike(bench: Bench) -> None:
    with capture_logs() as told:
        for _ in range(5):
            await bench.ended(logged_off(4711), logged_on=True)
    assert bench.store.cooldowns == {}
    assert [one["event"] for one in told] == ["eresult_unknown"]


async def test_a_message_that_steam_calls_wrong_is_an_alarm(bench: Bench) -> None:
    with capture_logs() as told:
        await bench.ended(LogOnRefused("logon", 8))
    (alarm,) = told
    assert (alarm["event"], alarm["log_level"], alarm["eresult"]) == ("message_refused", "error", 8)
    assert bench.store.cooldowns["axe"][0] == 86400.0


async def test_a_limit_that_cannot_be_told_to_redis_does_not_hide_the_refusal(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> None:
        raise StoreUnavailable("logon_limited")

    monkeypatch.setattr(bench.pacing, "was_limited", away)
    with capture_logs() as told:
        await bench.ended(LogOnRefused("logon", 84))
    assert [one["event"] for one in told] == ["rate_limit_untold"]


@pytest.mark.parametrize("failure", [logged_off(None), LeaseLost("axe", 1), StoreUnavailable("x")])
async def test_what_is_not_ours_to_give_stays_leased(bench: Bench, failure: Exception) -> None:
    await bench.ended(failure, logged_on=True)
    assert bench.store.held == {"axe": 1}


def test_a_need_is_told_in_the_words_of_who_found_it() -> None:
    for eresult in range(200):
        for verdict in (verdict_on_token(eresult), verdict_on_password(eresult)):
            assert verdict not in NEEDS_PERSON or eresult in NEEDS, eresult


async def test_a_persons_need_is_told_as_it_was_found(bench: Bench) -> None:
    need = NeedsHuman("axe", "a code")
    assert (await bench.ended(need)).ruling(need).need == "a code"


def test_no_verdict_blames_both_the_cm_and_the_address() -> None:
    assert not MARKS_CM & STOPS_IP


def test_strikes_are_counted_by_account_and_kind_and_forgotten_after_hours() -> None:
    strikes = Strikes()
    assert strikes.add("axe", Verdict.UNKNOWN, 0.0) == 1
    assert strikes.add("axe", Verdict.UNKNOWN, 10.0) == 2
    assert strikes.add("axe", Verdict.WRONG_PASSWORD, 10.0) == 1
    assert strikes.add("bane", Verdict.UNKNOWN, 10.0) == 1
    assert strikes.add("axe", Verdict.UNKNOWN, 10.0 + FORGET_S) == 1


def test_each_unknown_number_is_told_once_and_a_known_one_never() -> None:
    unknown, log = UnknownResults(), structlog.get_logger()
    with capture_logs() as told:
        for eresult in (4711, 4711, 20, 116, 4711, 116, 26):
            unknown.note(eresult, "logon", log)
    assert [one["eresult"] for one in told] == [4711, 116]
    assert is_known(20)
