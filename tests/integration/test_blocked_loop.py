"""An event loop that stands still for longer than the leases last: still one session per account."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest
from redis.asyncio import Redis

from bench.chaos import blockable
from bench.chaos.checker import Observations, check_round
from bench.env import seed_accounts, service_settings, simple_accounts
from bench.sandbox_process import SandboxProcess
from bench.service_process import Sections, ServiceProcess
from bench.valkey import FORGETFUL, own_valkey

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

LEASE_S = 13  # the shortest whole number of seconds that the settings take
BLOCKED_S = 2 * LEASE_S
QUICK: Sections = {
    "bots": {"lease_seconds": LEASE_S, "request_timeout": 2},
    "restart": {"backoff_min": 0.1, "backoff_max": 1},
}


async def test_the_account_of_a_blocked_process_is_left_before_another_has_it() -> None:
    env = {blockable.SECONDS_VARIABLE: str(BLOCKED_S)}
    accounts = simple_accounts(1)
    with own_valkey(FORGETFUL) as valkey, SandboxProcess(accounts) as sandbox:
        url = f"redis://127.0.0.1:{valkey.port}/0"
        seed_accounts(url, accounts)
        settings = service_settings(1, sandbox, url, QUICK)
        with (
            ServiceProcess(settings, env=env, module=blockable.__name__) as first,
            ServiceProcess(settings) as second,
        ):
            await asyncio.to_thread(first.wait_ready, 1)
            first.process.send_signal(signal.SIGUSR1)
            ended, begun = await _handed_over(sandbox)
            assert ended["n"] < begun["n"]
            assert ended["clean"]
            await asyncio.to_thread(second.wait_ready, 1, 3 * LEASE_S)
            # The first one is back, sees what it missed, and says why its bot lost the session.
            await asyncio.to_thread(first.wait_log, "loop_blocked", 3 * LEASE_S)
            assert (await asyncio.to_thread(first.get, "/healthz"))[0] == 200
            assert await asyncio.to_thread(second.stop) == 0
            await asyncio.to_thread(first.wait_ready, 1)  # nothing is wrong with its hub
            lost = [one for one in first.events("bot_state_changed") if "reason" in one]
            assert any("the lease" in one["reason"] for one in lost)
            assert await asyncio.to_thread(first.stop) == 0
        events = await sandbox.journal()
        facts = await sandbox.summary()
    assert check_round(Observations(events, len(events), 10**6, 10**6, {}, {})).violations == []
    assert facts["max_concurrent"] == {accounts[0]["name"]: 1}


async def test_a_process_that_was_stopped_past_its_lease_sends_nothing_more() -> None:
    accounts = simple_accounts(1)
    # Steam's own patience is longer than the lease: only what the process does ends its session.
    patient = ("--heartbeat", "60")
    with own_valkey(FORGETFUL) as valkey, SandboxProcess(accounts, patient) as sandbox:
        url = f"redis://127.0.0.1:{valkey.port}/0"
        seed_accounts(url, accounts)
        with ServiceProcess(service_settings(1, sandbox, url, QUICK)) as service:
            await asyncio.to_thread(service.wait_ready, 1)
            (session,) = [one["session"] for one in await sandbox.journal("token_logon")]
            service.process.send_signal(signal.SIGSTOP)
            try:
                await _lease_over(url, accounts[0]["name"])
            finally:
                service.process.send_signal(signal.SIGCONT)
            (ended,) = await sandbox.wait_journal("session_ended", session=session)
            assert not ended["clean"]  # it did not even log off
            assert ended["idle_s"] > LEASE_S / 2
            await asyncio.to_thread(service.wait_ready, 1)
            assert await asyncio.to_thread(service.stop) == 0


async def _lease_over(url: str, account: str) -> None:
    async with Redis.from_url(url) as client, asyncio.timeout(3 * LEASE_S):
        until = await client.zscore("botapi:leases", account)  # milliseconds
        assert until is not None
        while (await client.time())[0] * 1000 <= until:  # noqa: ASYNC110 - Redis says nothing by itself
            await asyncio.sleep(0.1)


async def _handed_over(sandbox: SandboxProcess) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the end of the first session and the begin of the second."""
    logons = await sandbox.wait_journal("token_logon", 2, within_s=3 * LEASE_S)
    ended = await sandbox.journal("session_ended")
    return ended[0], logons[1]
