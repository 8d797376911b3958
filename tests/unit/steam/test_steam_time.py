"""Steam's time of day: learned from answers, independent of the machine's date."""

from __future__ import annotations

import gevent
import pytest
from steam.protobufs import steammessages_clientserver_login_pb2 as pb
from support.fake_clock import WALL_AT_ZERO, FakeClock
from support.scripted_transport import connected

from actors.steam.port import AuthState
from actors.steam.protocol import emsg
from actors.steam.session import Session
from actors.steam.steam_time import SteamTime
from supervisor.clock import SystemClock

DATE = "Fri, 27 Nov 2026 12:00:00 GMT"
DATE_S = 1795780800.0


class JumpyClock(FakeClock):
    """A date that is off by `off_s`, and may jump."""

    off_s = 0.0

    def wall(self) -> float:
        return super().wall() + self.off_s


@pytest.fixture
def machine() -> JumpyClock:
    return JumpyClock()


def test_until_steam_has_told_the_time_it_is_the_machines(machine: JumpyClock) -> None:
    time = SteamTime(machine)
    assert not time.is_known
    assert time.wall() == machine.wall() == WALL_AT_ZERO + machine.now()


@pytest.mark.parametrize("off_s", [0.0, 90.0, -90.0, 86400.0])
async def test_steams_time_counts_and_goes_on_whatever_the_machines_date_does(
    machine: JumpyClock, off_s: float
) -> None:
    time = SteamTime(machine)
    machine.off_s = off_s
    time.learn_from_directory(DATE, None)
    assert time.is_known
    assert time.wall() == pytest.approx(DATE_S, abs=1.0)
    await machine.advance(1000.0)
    machine.off_s = -off_s
    assert time.wall() == pytest.approx(DATE_S + 1000.0, abs=1.0)
    assert time.now() == machine.now()


def test_an_answer_out_of_a_cache_is_as_old_as_it_says(machine: JumpyClock) -> None:
    time = SteamTime(machine)
    time.learn_from_directory(DATE, "240")
    assert time.wall() == pytest.approx(DATE_S + 240.0, abs=1.0)


@pytest.mark.parametrize(
    ("date", "age"), [(None, None), ("", None), ("yesterday", None), (DATE, "old")]
)
def test_what_is_no_time_teaches_nothing(
    machine: JumpyClock, date: str | None, age: str | None
) -> None:
    time = SteamTime(machine)
    time.learn_from_directory(date, age)
    time.learn_from_cm(0)
    assert not time.is_known


def test_a_cms_time_counts_more_than_a_directorys_and_the_newest_of_it_most(
    machine: JumpyClock,
) -> None:
    time = SteamTime(machine)
    time.learn_from_directory(DATE, None)
    for seconds in (1_800_000_000, 1_800_000_100):
        time.learn_from_cm(seconds)
        time.learn_from_directory(DATE, None)
        assert time.wall() == pytest.approx(seconds, abs=1.0)


@pytest.mark.parametrize("eresult", [1, 5])
def test_a_log_on_tells_it_also_when_it_is_refused(eresult: int) -> None:
    time = SteamTime(SystemClock())
    with connected() as (connection, server):
        session = Session(connection, time, {})
        logging_on = gevent.spawn(session.log_on, "abaddon", AuthState(7, "a.refresh.token"), 5.0)
        server.wait_emsg(emsg.CLIENT_LOG_ON)
        answer = pb.CMsgClientLogonResponse(eresult=eresult, rtime32_server_time=1_800_000_000)
        server.say(emsg.CLIENT_LOG_ON_RESPONSE, answer, client_sessionid=5)
        gevent.joinall([logging_on])
    assert time.wall() == pytest.approx(1_800_000_000, abs=5.0)
