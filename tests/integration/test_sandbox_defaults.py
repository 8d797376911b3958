"""Defaults of the sandbox: log-on limits, one clock, ignored hellos, large welcomes."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from steam.guard import generate_twofactor_code_for_time
from support.sandbox_client import ServiceError, logged_on, steamid_of
from support.sandbox_connection import Connecting

from bench.sandbox_process import SandboxProcess

pytestmark = pytest.mark.integration

STOCK = Path(__file__).resolve().parent.parent / "support" / "stock_steam.py"
SECRET = base64.b64encode(b"a shared secret 1234").decode()
DAY_S = 86_400
LIFETIME_S = 200 * DAY_S
BAN_S = 1800
ACCOUNTS: list[dict[str, Any]] = [
    *({"name": f"bot{n}", "password": f"p{n}"} for n in range(8)),
    {"name": "phoned", "password": "p", "shared_secret": SECRET},
    {"name": "mailed", "password": "p", "email_code": "AB2CD"},
]
DEFAULTS = ("--stock-clients", "--logon-limits", "--early-hellos")


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess(ACCOUNTS, DEFAULTS) as running:
        yield running


async def begin(sandbox: SandboxProcess, name: str, password: str) -> int:
    """Return the result of a password check on a new connection."""
    async with Connecting(sandbox, "websockets") as client:
        await client.hello()
        try:
            await client.begin(name, password)
        except ServiceError as refused:
            return refused.eresult
    return 1


async def log_on(sandbox: SandboxProcess, token: str) -> int:
    async with Connecting(sandbox, "websockets") as client:
        await client.hello()
        answer = await client.log_on(token, steamid_of(token), supports_rate_limit_response=True)
        return int(answer.eresult)


async def token_of(sandbox: SandboxProcess, number: int = 0) -> str:
    async with Connecting(sandbox, "websockets") as client:
        await client.hello()
        return await client.token(f"bot{number}", f"p{number}")


# --- limits ---------------------------------------------------------------------------------------
async def test_wrong_passwords_of_one_account_are_87_and_a_try_prolongs_that(
    sandbox: SandboxProcess,
) -> None:
    results = [await begin(sandbox, "bot0", "wrong") for _ in range(4)]
    assert results == [5, 5, 5, 87]
    assert await begin(sandbox, "bot1", "p1") == 1  # another account of the same address
    await sandbox.quota(advance_s=BAN_S - 10)
    assert await begin(sandbox, "bot0", "p0") == 87  # the right password, but within the ban
    await sandbox.quota(advance_s=BAN_S - 10)
    assert await begin(sandbox, "bot0", "p0") == 87
    await sandbox.quota(advance_s=BAN_S + 1)
    assert await begin(sandbox, "bot0", "p0") == 1


async def test_failures_of_one_address_are_84_for_all_its_log_ons(sandbox: SandboxProcess) -> None:
    token = await token_of(sandbox, 7)
    results = [await begin(sandbox, f"bot{n}", "wrong") for n in range(6)]
    assert results == [5, 5, 5, 5, 5, 84]
    assert await log_on(sandbox, token) == 84
    await sandbox.quota(advance_s=BAN_S + 1)
    assert await log_on(sandbox, token) == 1


async def test_password_checks_are_limited_and_good_tokens_are_not(sandbox: SandboxProcess) -> None:
    token = await token_of(sandbox)
    assert [await log_on(sandbox, token) for _ in range(20)] == [1] * 20
    results = [await begin(sandbox, f"bot{n % 8}", f"p{n % 8}") for n in range(15)]
    assert results == [1] * 14 + [84]


async def test_the_limits_can_be_left_out() -> None:
    with SandboxProcess(ACCOUNTS, ("--no-logon-limits",)) as sandbox:
        assert [await begin(sandbox, "bot0", "wrong") for _ in range(8)] == [5] * 8


# --- one clock ------------------------------------------------------------------------------------
async def test_tokens_age_by_the_clock_that_is_moved(sandbox: SandboxProcess) -> None:
    token = await token_of(sandbox)
    await sandbox.quota(advance_s=LIFETIME_S - DAY_S)
    assert await log_on(sandbox, token) == 1
    await sandbox.quota(advance_s=DAY_S + 1)
    assert await log_on(sandbox, token) == 27


async def test_codes_and_server_time_are_of_the_clock_that_is_moved(
    sandbox: SandboxProcess,
) -> None:
    await sandbox.quota(advance_s=DAY_S)
    secret = base64.b64decode(SECRET)
    async with Connecting(sandbox, "websockets") as client:
        await client.hello()
        begun = await client.begin("phoned", "p")
        with pytest.raises(ServiceError, match="88"):
            await client.submit(begun, generate_twofactor_code_for_time(secret, time.time()), 3)
        now = time.time() + DAY_S
        await client.submit(begun, generate_twofactor_code_for_time(secret, now), 3)
    token = await token_of(sandbox)
    async with Connecting(sandbox, "websockets") as client:
        answer = await client.log_on(token, steamid_of(token))
    assert abs(answer.rtime32_server_time - now) < 60


async def test_guard_data_and_auth_sessions_age_by_it_too(sandbox: SandboxProcess) -> None:
    async with Connecting(sandbox, "websockets") as client:
        await client.hello()
        begun = await client.begin("mailed", "p")
        await client.submit(begun, "AB2CD", 2)
        guard_data = (await client.poll(begun)).new_guard_data
        begun = await client.begin("mailed", "p", guard_data)
        assert [one.confirmation_type for one in begun.allowed_confirmations] == [1]
        await sandbox.quota(advance_s=LIFETIME_S + 1)
        with pytest.raises(ServiceError, match="27"):
            await client.poll(begun)
        begun = await client.begin("mailed", "p", guard_data)
        assert [one.confirmation_type for one in begun.allowed_confirmations] == [2]


# --- the GC ---------------------------------------------------------------------------------------
async def welcomed(sandbox: SandboxProcess, since: int) -> bool:
    try:
        await sandbox.wait_journal("gc_welcome", since=since, within_s=0.2)
    except TimeoutError:
        return False
    return True


async def test_hellos_right_after_games_played_are_lost_sometimes(sandbox: SandboxProcess) -> None:
    token = await token_of(sandbox)
    outcomes: list[str] = []
    async with Connecting(sandbox, "websockets") as client:
        await client.log_on(token, steamid_of(token))
        for _ in range(20):
            since = await sandbox.last_event()
            await client.play(570)
            await client.send_gc(4006)
            [hello] = await sandbox.wait_journal("gc_hello", since=since)
            outcomes.append(hello["outcome"])
            await client.play()
        assert set(outcomes) == {"lost", "welcomed"}
        since = await sandbox.last_event()
        await client.play(570)
        async with asyncio.timeout(10):
            while not await welcomed(sandbox, since):
                await client.send_gc(4006)
    lost = [one["t"] for one in await sandbox.journal("gc_hello", since=since)]
    assert lost[-1] - lost[0] < 3.5  # seconds; after that the GC knows the game


async def test_welcomes_are_of_ten_to_three_hundred_kilobytes() -> None:
    accounts = [{"name": f"bot{n}", "password": "p"} for n in range(40)]
    with SandboxProcess(accounts) as sandbox:
        for account in accounts:
            async with Connecting(sandbox, "netfilter") as client:
                await logged_on(client, account)
                await client.launch()
        sizes = [one["size"] for one in await sandbox.journal("gc_welcome")]
    assert len(sizes) == len(accounts)
    assert 10_000 <= min(sizes) < 15_000
    assert 150_000 < max(sizes) <= 310_000


# --- stock clients --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("option", "answer"), [("stock-clients", "1"), ("no-stock-clients", "none")]
)
async def test_the_steam_package_gets_its_log_on_answer(option: str, answer: str) -> None:
    """By default unknown messages are not before the log-on answer."""
    with SandboxProcess(ACCOUNTS, (f"--{option}",)) as sandbox:
        token = await token_of(sandbox)
        tried = await asyncio.to_thread(
            subprocess.run,
            [
                *(sys.executable, str(STOCK), sandbox.endpoints["netfilter"][0]),
                *(str(sandbox.universe_key_file), str(steamid_of(token))),
            ],
            input=token,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert tried.stdout.strip() == answer, tried.stderr
        async with Connecting(sandbox, "websockets") as client:
            await client.log_on(token, steamid_of(token))
            log = client.log
        assert (9808 in log[: log.index(751)]) is (answer == "none")
        assert 9808 in log[log.index(751) :]
