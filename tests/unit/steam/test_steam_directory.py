"""CM directory: choice of the server, refresh of the list, failures."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs
from support.fake_clock import FakeClock

from actors.errors import SteamUnreachable
from actors.steam import directory as directory_module
from actors.steam.directory import CmDirectory
from actors.steam.port import Server, TransportKind
from actors.steam.steam_time import SteamTime

Json = dict[str, Any]


def row(endpoint: str, load: float = 1.0, **others: Any) -> Json:
    usual = {"type": "websockets", "dc": "sgp1", "realm": "steamglobal", "load": 9}
    return {"endpoint": endpoint, "wtd_load": load, **usual, **others}


def rows(*endpoints: str) -> list[Json]:
    return [row(endpoint, load) for load, endpoint in enumerate(endpoints)]


class FakeSteam:
    """A web API controlled by the test, which counts its requests."""

    def __init__(self) -> None:
        self.new: Any = {"serverlist": [], "success": True, "message": ""}
        self.old: Any = 404
        self.asked: list[str] = []
        self.queries: list[dict[str, str]] = []
        self.gate: asyncio.Event | None = None
        self.headers: dict[str, str] = {}
        self._server: TestServer | None = None

    def lists(self, servers: list[Json]) -> None:
        self.new = {"serverlist": servers, "success": True, "message": ""}

    async def start(self) -> str:
        app = web.Application()
        app.router.add_get("/ISteamDirectory/GetCMListForConnect/v1/", self._on_new)
        app.router.add_get("/ISteamDirectory/GetCMList/v1/", self._on_old)
        self._server = TestServer(app)
        await self._server.start_server()
        return str(self._server.make_url("/"))

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.close()

    async def _on_new(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, "new", self.new)

    async def _on_old(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, "old", self.old)

    async def _answer(self, request: web.Request, which: str, answer: Any) -> web.StreamResponse:
        self.asked.append(which)
        self.queries.append(dict(request.query))
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(answer, int):
            return web.Response(status=answer, headers=self.headers)
        if isinstance(answer, bytes):
            return web.Response(body=answer)
        return web.json_response({"response": answer}, headers=self.headers)


@pytest.fixture
async def steam() -> AsyncIterator[FakeSteam]:
    steam = FakeSteam()
    yield steam
    await steam.stop()


@pytest.fixture
async def directory(steam: FakeSteam, clock: FakeClock) -> CmDirectory:
    return await make(steam, clock)


async def make(
    steam: FakeSteam, clock: FakeClock, transport: TransportKind = TransportKind.WEBSOCKET
) -> CmDirectory:
    url = await steam.start()
    log = structlog.get_logger()
    return CmDirectory(url, transport, clock=clock, rng=random.Random(7), log=log)


async def picked(directory: CmDirectory, times: int = 60) -> set[str]:
    return {(await directory.pick()).endpoint for _ in range(times)}


async def test_a_server_is_what_the_list_says(steam: FakeSteam, directory: CmDirectory) -> None:
    steam.lists([row("127.0.0.1:27018")])
    expected = Server("127.0.0.1:27018", "127.0.0.1", "127.0.0.1", 27018, TransportKind.WEBSOCKET)
    assert await directory.pick() == expected
    assert steam.queries[0] == {
        "cellid": "0",
        "cmtype": "websockets",
        "realm": "steamglobal",
        "maxcount": "100",
        "format": "json",
    }


async def test_names_are_resolved_before_the_hub_sees_them(
    steam: FakeSteam, directory: CmDirectory
) -> None:
    steam.lists([row("localhost:443")])
    server = await directory.pick()
    assert (server.host, server.address, server.port) == ("localhost", "127.0.0.1", 443)


async def test_ipv6_addresses_are_understood(steam: FakeSteam, directory: CmDirectory) -> None:
    steam.lists([row("[::1]:27017")])
    server = await directory.pick()
    assert (server.host, server.address, server.port) == ("::1", "::1", 27017)


async def test_only_the_five_least_loaded_are_taken(
    steam: FakeSteam, directory: CmDirectory
) -> None:
    good = [row(f"127.0.0.{n}:1", n) for n in range(1, 6)]
    busy = [row(f"127.0.1.{n}:1", 100 + n) for n in range(1, 6)]
    steam.lists([*busy, *reversed(good)])
    assert await picked(directory) == {one["endpoint"] for one in good}


async def test_foreign_realms_and_types_are_left_out(
    steam: FakeSteam, directory: CmDirectory
) -> None:
    steam.lists(
        [
            row("127.0.0.1:1", realm="steamchina"),
            row("127.0.0.2:1", type="netfilter"),
            row("127.0.0.3:1"),
        ]
    )
    assert await picked(directory) == {"127.0.0.3:1"}


async def test_a_server_listed_often_is_not_taken_more_often(
    steam: FakeSteam, directory: CmDirectory
) -> None:
    steam.lists([row("127.0.0.1:1")] * 20 + [row("127.0.0.2:1", 2)])
    assert await picked(directory) == {"127.0.0.1:1", "127.0.0.2:1"}


@pytest.mark.parametrize(
    "bad",
    [
        row("no port at all"),
        row("127.0.0.1:seventy"),
        row("127.0.0.1:70000"),
        row(":443"),
        row(""),
        {"type": "websockets", "realm": "steamglobal"},
        {"endpoint": "127.0.0.1:1"},
        None,
        "127.0.0.1:1",
    ],
)
async def test_a_row_that_makes_no_sense_does_not_spoil_the_list(
    steam: FakeSteam, directory: CmDirectory, bad: Any
) -> None:
    steam.new = {"serverlist": [bad, row("127.0.0.9:9")], "success": True}
    assert await picked(directory, 10) == {"127.0.0.9:9"}
    assert steam.asked == ["new"]


FAILURES: dict[str, Any] = {
    "status 500": 500,
    "status 403": 403,
    "not JSON": b"<html>",
    "not an object": b"[]",
    "no response": b"{}",
    "null": b"null",
    "success false": {"serverlist": rows("127.0.0.1:1"), "success": False, "message": "busy"},
    "empty": {"serverlist": [], "success": True},
    "no list": {"success": True},
    "a list that is none": {"serverlist": 5, "success": True},
    "only foreign": {"serverlist": [row("127.0.0.1:1", realm="steamchina")], "success": True},
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
async def test_the_old_method_is_asked_when_the_new_one_fails(
    steam: FakeSteam, directory: CmDirectory, failure: Any
) -> None:
    steam.new = failure
    steam.old = {
        "serverlist": ["127.0.0.8:27017"],
        "serverlist_websockets": ["127.0.0.9:443", "127.0.0.9:443"],
        "result": 1,
    }
    assert await picked(directory, 5) == {"127.0.0.9:443"}
    assert steam.asked == ["new", "old"]


async def test_the_old_methods_tcp_list_serves_tcp(steam: FakeSteam, clock: FakeClock) -> None:
    directory = await make(steam, clock, TransportKind.TCP)
    steam.old = {"serverlist": ["127.0.0.8:27017"], "serverlist_websockets": ["127.0.0.9:443"]}
    server = await directory.pick()
    assert (server.endpoint, server.transport) == ("127.0.0.8:27017", TransportKind.TCP)


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
async def test_when_both_fail_the_directory_is_unreachable(
    steam: FakeSteam, directory: CmDirectory, failure: Any
) -> None:
    steam.new = steam.old = failure
    with pytest.raises(SteamUnreachable) as caught:
        await directory.pick()
    assert caught.value.phase == "directory"


async def test_a_directory_that_is_not_there_is_unreachable(clock: FakeClock) -> None:
    log = structlog.get_logger()
    directory = CmDirectory(
        "http://127.0.0.1:1", TransportKind.TCP, clock=clock, rng=random.Random(7), log=log
    )
    with pytest.raises(SteamUnreachable, match="directory"):
        await directory.pick()


async def test_a_directory_that_never_answers_is_given_up(
    steam: FakeSteam, directory: CmDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_module, "ANSWER_S", 0.05)
    steam.gate = asyncio.Event()
    with pytest.raises(SteamUnreachable, match="Timeout"):
        await directory.pick()
    steam.gate.set()


async def test_the_list_is_fetched_again_when_it_is_old(
    steam: FakeSteam, directory: CmDirectory, clock: FakeClock
) -> None:
    steam.lists(rows("127.0.0.1:1"))
    await picked(directory)
    await clock.advance(299)
    await picked(directory)
    assert len(steam.asked) == 1
    steam.lists(rows("127.0.0.2:1"))
    await clock.advance(1)
    assert await picked(directory) == {"127.0.0.2:1"}
    assert len(steam.asked) == 2


async def test_the_old_list_is_kept_when_the_directory_dies(
    steam: FakeSteam, directory: CmDirectory, clock: FakeClock
) -> None:
    steam.lists(rows("127.0.0.1:1"))
    await directory.pick()
    steam.new = steam.old = 500
    await clock.advance(10_000)
    with capture_logs() as logs:
        assert await picked(directory) == {"127.0.0.1:1"}
    assert [one["event"] for one in logs] == ["directory_stale"]
    assert steam.asked == ["new", "new", "old"]


async def test_300_bots_at_once_cause_one_look_up(steam: FakeSteam, directory: CmDirectory) -> None:
    steam.lists(rows(*(f"127.0.0.{n}:1" for n in range(1, 9))))
    servers = await asyncio.gather(*(directory.pick() for _ in range(300)))
    assert len(servers) == 300
    assert steam.asked == ["new"]
    assert len({one.endpoint for one in servers}) == 5


async def test_300_bots_at_once_share_a_failure_too(
    steam: FakeSteam, directory: CmDirectory, clock: FakeClock
) -> None:
    """In sequence, look-ups of ten seconds each would add up to hours."""
    steam.new = 500
    picks = (directory.pick() for _ in range(300))
    outcomes = await asyncio.gather(*picks, return_exceptions=True)
    assert {type(one) for one in outcomes} == {SteamUnreachable}
    assert steam.asked == ["new", "old"]
    steam.lists(rows("127.0.0.1:1"))
    await clock.advance(1)
    assert await picked(directory) == {"127.0.0.1:1"}


async def test_a_pick_cancelled_during_the_look_up_does_not_stop_the_others(
    steam: FakeSteam, directory: CmDirectory
) -> None:
    steam.lists(rows("127.0.0.1:1"))
    steam.gate = asyncio.Event()
    first, second = (asyncio.create_task(directory.pick()) for _ in range(2))
    async with asyncio.timeout(5):
        while not steam.asked:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.001)
        first.cancel()
        steam.gate.set()
        assert (await second).endpoint == "127.0.0.1:1"
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_a_bad_server_is_avoided_for_two_minutes(
    steam: FakeSteam, directory: CmDirectory, clock: FakeClock
) -> None:
    steam.lists(rows("127.0.0.1:1", "127.0.0.2:1"))
    bad = await directory.pick()
    directory.mark_bad(bad)
    assert bad.endpoint not in await picked(directory)
    await clock.advance(120)
    assert bad.endpoint in await picked(directory)


async def test_the_next_best_take_the_place_of_bad_ones(
    steam: FakeSteam, directory: CmDirectory
) -> None:
    steam.lists(rows(*(f"127.0.0.{n}:1" for n in range(1, 7))))
    assert "127.0.0.6:1" not in await picked(directory)
    directory.mark_bad(Server("127.0.0.1:1", "", "", 1, TransportKind.WEBSOCKET))
    assert "127.0.0.6:1" in await picked(directory)


async def test_when_all_are_bad_the_marks_are_forgotten(
    steam: FakeSteam, directory: CmDirectory
) -> None:
    steam.lists(rows("127.0.0.1:1", "127.0.0.2:1"))
    await directory.pick()
    for endpoint in ("127.0.0.1:1", "127.0.0.2:1"):
        directory.mark_bad(Server(endpoint, "", "", 1, TransportKind.WEBSOCKET))
    assert await picked(directory) == {"127.0.0.1:1", "127.0.0.2:1"}
    directory.mark_bad(Server("127.0.0.1:1", "", "", 1, TransportKind.WEBSOCKET))
    assert await picked(directory) == {"127.0.0.2:1"}


async def test_a_name_that_cannot_be_resolved_is_not_tried_again_at_once(
    steam: FakeSteam, directory: CmDirectory
) -> None:
    steam.lists(rows("not..a.name:443", "127.0.0.2:1"))  # fails without asking any name server
    with pytest.raises(SteamUnreachable, match="resolve"):
        await picked(directory)
    assert await picked(directory) == {"127.0.0.2:1"}


async def test_steams_time_is_learned_from_its_answer_and_from_no_refusal(
    steam: FakeSteam, clock: FakeClock
) -> None:
    time = SteamTime(clock)
    steam.new = 500
    steam.headers = {"Date": "Fri, 27 Nov 2026 12:00:00 GMT", "Age": "60"}
    url, log = await steam.start(), structlog.get_logger()
    directory = CmDirectory(
        url, TransportKind.WEBSOCKET, clock=clock, rng=random.Random(7), log=log, time=time
    )
    with pytest.raises(SteamUnreachable):
        await directory.pick()
    assert not time.is_known
    steam.lists(rows("127.0.0.1:1"))
    await clock.advance(10)
    await directory.pick()
    assert time.wall() == pytest.approx(1795780860.0, abs=1.0)


V4, V6 = socket.AF_INET, socket.AF_INET6


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([(V4, "192.0.2.1")], ("192.0.2.1", ())),
        ([(V6, "2001:db8::1")], ("2001:db8::1", ())),
        # As behind DNS64: the name has both families, and only one is reachable.
        ([(V6, "64:ff9b::c000:201"), (V4, "192.0.2.1")], ("192.0.2.1", ("64:ff9b::c000:201",))),
        (
            [(V4, "192.0.2.1"), (V4, "192.0.2.2"), (V4, "192.0.2.2"), (V6, "2001:db8::1")],
            ("192.0.2.1", ("2001:db8::1", "192.0.2.2")),
        ),
        (
            [(V4, f"192.0.2.{n}") for n in range(9)] + [(V6, f"2001:db8::{n}") for n in range(9)],
            ("192.0.2.0", ("2001:db8::0", "192.0.2.1", "2001:db8::1")),
        ),
    ],
)
async def test_every_address_of_a_name_is_kept_in_the_order_of_trying(
    steam: FakeSteam,
    directory: CmDirectory,
    monkeypatch: pytest.MonkeyPatch,
    found: list[tuple[int, str]],
    expected: tuple[str, tuple[str, ...]],
) -> None:
    async def getaddrinfo(*_: object, **__: object) -> list[tuple[Any, ...]]:
        return [(family, 1, 6, "", (address, 0)) for family, address in found]

    steam.lists([row("127.0.0.1:443")])
    await directory.pick()
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    server = await directory._resolve("cm.example:443")
    assert (server.address, server.others) == expected
    assert (server.host, server.port) == ("cm.example", 443)
