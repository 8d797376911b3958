"""Connecting to a CM: trust, silence, refusals, and leaks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.steam_env import ACCOUNTS, OpenLink, SteamEnv, running_greenlets

from actors.errors import SteamError, SteamUnreachable
from actors.steam.port import Dropped, Server, TransportKind
from actors.steam.transport.base import Trust
from bench.sandbox_process import SandboxProcess

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess(ACCOUNTS) as running:
        yield running


@pytest.fixture(params=list(TransportKind), ids=str)
async def env(sandbox: SandboxProcess, request: pytest.FixtureRequest) -> AsyncIterator[SteamEnv]:
    async with SteamEnv(sandbox, request.param) as env:
        yield env
    await sandbox.clear_faults()


async def unreachable(
    env: SteamEnv, server: Server | None = None, *, timeout_s: float = 5.0
) -> str:
    """Fail to connect in time; return the reason."""
    server = server or await env.directory.pick()
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(SteamUnreachable) as caught:
        await env.network.open(server, lambda _: None, timeout_s=timeout_s)
    assert caught.value.phase == "connect"
    assert loop.time() - started < timeout_s + 1
    return caught.value.reason


async def test_the_directory_lists_servers_of_the_transport(env: SteamEnv) -> None:
    endpoints = set(env.sandbox.endpoints[env.transport])
    picked = {(await env.directory.pick()).endpoint for _ in range(30)}
    assert picked == endpoints
    since = await env.sandbox.last_event()
    await env.directory.pick()
    assert not await env.sandbox.journal("directory_request", since=since)


@pytest.mark.parametrize("status", ["500", "403", "invalid_json", "empty", "success_false"])
async def test_a_directory_in_trouble_is_unreachable(env: SteamEnv, status: str) -> None:
    await env.sandbox.faults(directory_status=status)
    with pytest.raises(SteamUnreachable) as caught:
        await env.directory.pick()
    assert caught.value.phase == "directory"


async def test_a_server_that_says_nothing_costs_its_time_limit_and_no_more(env: SteamEnv) -> None:
    await env.sandbox.faults(accept_and_silence=True)
    assert "in time" in await unreachable(env, timeout_s=0.3)


async def test_a_server_that_closes_during_the_handshake_is_unreachable(env: SteamEnv) -> None:
    await env.sandbox.faults(close_handshake=True)
    await unreachable(env)


async def test_a_server_that_refuses_is_unreachable(env: SteamEnv) -> None:
    server = await env.directory.pick()
    await env.sandbox.faults(refuse_connect=True)
    assert "refused" in await unreachable(env, server)


async def test_an_address_that_refuses_is_followed_by_the_next_of_the_name(env: SteamEnv) -> None:
    """As behind DNS64: a name has addresses of both families, and one is unreachable."""
    real = await env.directory.pick()
    both = replace(real, address="::1", others=("127.0.0.1",))
    link = await env.network.open(both, lambda _: None, timeout_s=5)
    await link.close()
    nowhere = replace(real, address="::1", others=("127.0.0.9",))
    why = await unreachable(env, nowhere)
    assert "::1" in why
    assert "127.0.0.9" in why


async def test_an_unsigned_certificate_is_not_trusted(sandbox: SandboxProcess) -> None:
    async with SteamEnv(sandbox, TransportKind.WEBSOCKET) as env:
        await sandbox.faults(tls_untrusted=True)
        assert "certificate" in await unreachable(env)
        await sandbox.clear_faults()
        await env.open("abaddon")


async def test_a_certificate_of_another_authority_is_not_trusted(sandbox: SandboxProcess) -> None:
    live = Trust.load(None, None)
    async with SteamEnv(sandbox, TransportKind.WEBSOCKET, live) as env:
        assert "certificate" in await unreachable(env)


async def test_a_certificate_for_another_name_is_not_trusted(sandbox: SandboxProcess) -> None:
    async with SteamEnv(sandbox, TransportKind.WEBSOCKET) as env:
        real = await env.directory.pick()
        other = Server(real.endpoint, "cm.example", real.address, real.port, real.transport)
        assert "certificate" in await unreachable(env, other)


async def test_a_server_without_our_universe_key_is_refused(sandbox: SandboxProcess) -> None:
    live = Trust.load(sandbox.ca_file, None)
    async with SteamEnv(sandbox, TransportKind.TCP, live) as env:
        await unreachable(env)


async def test_a_host_that_is_no_name_is_unreachable(env: SteamEnv) -> None:
    real = await env.directory.pick()
    odd = Server("odd:1", "a" * 300 + "..b", real.address, real.port, TransportKind.WEBSOCKET)
    await unreachable(env, odd)


async def test_a_cancelled_connect_closes_its_socket(env: SteamEnv) -> None:
    await env.sandbox.faults(accept_and_silence=True)
    server = await env.directory.pick()
    opening = asyncio.create_task(env.network.open(server, lambda _: None, timeout_s=60))
    await until_connected(server)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await until_connected(server, connected=False)


async def until_connected(server: Server, *, connected: bool = True) -> None:
    """Wait until this process has a connection to `server`, or no longer has one."""
    async with asyncio.timeout(5):
        while connected is not is_connected(server):  # noqa: ASYNC110 - the system has no event
            await asyncio.sleep(0.005)


def is_connected(server: Server) -> bool:
    return any(
        one.raddr and one.raddr.port == server.port and one.status == "ESTABLISHED"
        for one in psutil.Process().net_connections("tcp")
    )


# -- what is left ----------------------------------------------------------------------------------


def held() -> tuple[int, int, int]:
    """Count greenlets, file descriptors, and threads except the loop's resolver threads."""
    threads = [one for one in threading.enumerate() if not one.name.startswith("asyncio_")]
    return running_greenlets(), psutil.Process().num_fds(), len(threads)


async def one_run(env: SteamEnv, name: str) -> None:
    bot = await env.ready(name)
    await asyncio.gather(
        *(bot.link.request_match(6_000_000_000 + n, timeout_s=5) for n in range(5))
    )
    await bot.link.log_off(timeout_s=4)
    await bot.link.close()


async def one_drop(env: SteamEnv, name: str) -> None:
    bot = await env.ready(name)
    await env.sandbox.drop("reset", accounts=[name])
    await bot.wait_event(Dropped)
    await bot.link.close()


async def one_failure(env: SteamEnv, name: str) -> None:
    del name
    await env.sandbox.faults(close_handshake=True)
    await unreachable(env)
    await env.sandbox.clear_faults()


async def one_half_way(env: SteamEnv, name: str) -> None:
    """Close the link during the launch."""
    await env.sandbox.faults(gc_down="silent")
    bot: OpenLink = await env.logged_on(name)
    since = await env.sandbox.last_event()
    launching = asyncio.create_task(bot.link.launch(timeout_s=60))
    await env.sandbox.wait_journal("gc_hello", since=since)
    await bot.link.close()
    with pytest.raises(SteamError):
        await launching
    await env.sandbox.clear_faults()


@pytest.mark.parametrize("run", [one_run, one_drop, one_failure, one_half_way])
async def test_closed_links_leave_no_greenlet_no_socket_no_thread(env: SteamEnv, run: Any) -> None:
    await run(env, "abaddon")  # allocate what is allocated once
    before = held()
    for name in ("abaddon", "bane") * 2:
        await run(env, name)
    assert held() == before


@pytest.mark.parametrize("transport", list(TransportKind), ids=str)
async def test_an_ended_hub_leaves_nothing(
    sandbox: SandboxProcess, transport: TransportKind, capfd: pytest.CaptureFixture[str]
) -> None:
    async with SteamEnv(sandbox, transport) as env:
        await one_run(env, "abaddon")
    before = held()
    async with SteamEnv(sandbox, transport) as env:
        await one_run(env, "abaddon")
        await env.ready("bane")
    assert held() == before
    assert capfd.readouterr() == ("", "")


def test_the_keys_of_the_sandbox_are_not_those_of_live_steam(sandbox: SandboxProcess) -> None:
    """Otherwise the tests of trust above prove nothing."""
    ours = Trust.load(Path(sandbox.ca_file), Path(sandbox.universe_key_file)).universe_key
    assert ours != Trust.load(None, None).universe_key
