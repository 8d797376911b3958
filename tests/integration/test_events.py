"""The event stream: first the snapshot, then the changes, for clients that may watch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.operator_client import Stream, ask, with_token

from bench.env import ServiceEnv, service_env, simple_accounts

pytestmark = pytest.mark.integration

WITHIN_S = 20.0


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceEnv]:
    settings = with_token(tmp_path_factory.mktemp("admin"))
    with service_env(2, accounts=simple_accounts(3), settings=settings) as running:
        running.service.wait_ready(2)
        yield running


async def until(stream: Stream, is_so: Callable[[], Any]) -> list[tuple[str, dict[str, Any]]]:
    """Read events until that is so; return them."""
    seen = []
    async with asyncio.timeout(WITHIN_S):
        while not is_so():
            seen.append(await stream.next())
    return seen


async def test_the_first_event_is_the_whole_snapshot(w: ServiceEnv) -> None:
    async with Stream(w.service.url) as stream:
        name, data = await stream.next()
    assert name == "snapshot"
    assert {bot["state"] for bot in data["bots"]} == {"ready"}
    assert [row["account"] for row in data["accounts"]] == ["bot0000", "bot0001", "bot0002"]
    assert data["fleet"]["count"] == 2
    assert data["router"]["ready"] == 2
    assert data["headlines"][0]["level"] == "well"
    assert data["ips"][0]["used"] >= 0
    assert data["history"][-1]["at"] <= data["at"]
    assert data["about"]["version"]
    assert "pw-bot" not in str(data)


async def test_a_change_is_told_within_moments_and_only_the_change(w: ServiceEnv) -> None:
    async with Stream(w.service.url) as stream:
        await stream.next()
        await ask(w.service.url, "POST", "/admin/bots/bot-2/park")
        told = await until(stream, lambda: stream.bots["bot-2"]["state"] == "parked")
        assert {name for name, _ in told} == {"update"}
        assert {bot["bot_id"] for _, data in told for bot in data.get("bots", ())} == {"bot-2"}
        await until(stream, lambda: stream.parts["headlines"][0]["level"] == "watch")
        await ask(w.service.url, "POST", "/admin/bots/bot-2/unpark")
        await until(stream, lambda: stream.bots["bot-2"]["state"] == "ready")


async def test_requests_are_counted_by_word_and_source(w: ServiceEnv) -> None:
    async with Stream(w.service.url) as stream:
        await stream.next()
        for query in ("match_id=7490000001", "match_id=nonsense"):
            await asyncio.to_thread(w.service.get, f"/match-details?{query}")

        def both() -> bool:
            minutes = stream.parts["minutes"]
            counted: int = sum(one["requests"] for one in minutes)
            return counted >= 2

        await until(stream, both)
        minutes = stream.parts["minutes"]
        assert sum(one["errors"].get("invalid", 0) for one in minutes) == 1
        assert sum(one["sources"].get("gc", 0) for one in minutes) == 1
        await until(stream, lambda: any(one["used"] for one in stream.accounts.values()))
        assert sum(one["used"] for one in stream.parts["ips"]) == 1


async def test_an_account_that_is_added_is_there_at_once(w: ServiceEnv) -> None:
    async with Stream(w.service.url) as stream:
        await stream.next()
        await ask(w.service.url, "POST", "/admin/accounts", {"name": "late", "password": "pw"})
        begun = time.monotonic()
        await until(stream, lambda: "late" in stream.accounts)
        assert time.monotonic() - begun < 9.0  # sooner than Redis is asked anyway
        await ask(w.service.url, "DELETE", "/admin/accounts/late")
        await until(stream, lambda: "late" not in stream.accounts)


async def test_who_comes_back_gets_what_was_missed(w: ServiceEnv) -> None:
    async with Stream(w.service.url) as stream:
        await stream.next()
        last = stream.last_id
        async with Stream(w.service.url) as other:  # the stream goes on, unseen by the first
            await other.next()
            await ask(w.service.url, "POST", "/admin/bots/bot-1/restart")
            await until(other, lambda: other.bots["bot-1"]["restarts"] == 1)
    async with Stream(w.service.url, last=last) as stream:
        name, data = await stream.next()
        assert name == "update"
        told = [*data.get("bots", ()), *(await until(stream, lambda: "bot-1" in stream.bots))]
        assert told


async def test_only_operators_may_watch_where_there_are_any(w: ServiceEnv) -> None:
    for token in (None, "another token of that length"):
        async with Stream(w.service.url, token=token) as stream:
            assert stream.status == 401


async def test_a_stop_ends_the_streams_and_does_not_wait_for_them(tmp_path: Path) -> None:
    with service_env(1, accounts=simple_accounts(1), settings=with_token(tmp_path)) as w:
        w.service.wait_ready(1)
        async with Stream(w.service.url) as stream:
            await stream.next()
            begun = time.monotonic()
            assert await asyncio.to_thread(w.service.stop) == 0
            assert time.monotonic() - begun < 9.0  # the grace for requests under way is ten seconds
            with pytest.raises(StopAsyncIteration):
                await until(stream, lambda: False)


async def test_without_a_named_token_every_client_may_watch() -> None:
    with service_env(1, accounts=simple_accounts(1)) as w:
        w.service.wait_ready(1)
        async with Stream(w.service.url, token=None) as stream:
            name, _ = await stream.next()
            assert name == "snapshot"
        _, session = await ask(w.service.url, "GET", "/session", token=None)
        assert session == {"state": "signed-out", "may_watch": True, "ends_in": None}
        status, _ = await ask(w.service.url, "POST", "/admin/fleet/drain", token=None)
        assert status == 401


async def test_where_there_are_api_keys_watching_takes_more_than_reaching_it(
    tmp_path: Path,
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("# no key yet\n")
    settings = {"http": {"api_keys_file": str(keys)}}
    with service_env(1, accounts=simple_accounts(1), settings=settings) as w:
        async with Stream(w.service.url, token=None) as stream:
            assert stream.status == 401
        _, session = await ask(w.service.url, "GET", "/session", token=None)
        assert session["may_watch"] is False


async def test_while_redis_is_away_the_page_says_so_and_goes_on() -> None:
    with service_env(1, accounts=simple_accounts(1)) as w:
        w.service.wait_ready(1)
        async with Stream(w.service.url, token=None) as stream:
            await stream.next()
            w.valkey.stop()

            def says_so() -> bool:
                return bool(stream.parts["headlines"][0]["kind"] == "redis-unreachable")

            await until(stream, says_so)
            assert stream.accounts
            w.valkey.start()
            await until(stream, lambda: not says_so())


@pytest.mark.parametrize("number", ["9" * 5000, "-1", "1" * 16, "0x1", ""])
async def test_an_event_id_that_no_stream_has_sent_gets_the_whole(
    w: ServiceEnv, number: str
) -> None:
    async with Stream(w.service.url) as stream:
        await stream.next()
        epoch = str(stream.last_id).partition("-")[0]
    for _ in range(8):  # more than the dashboard's restart intensity
        async with Stream(w.service.url, last=f"{epoch}-{number}") as stream:
            assert (await stream.next())[0] == "snapshot"
