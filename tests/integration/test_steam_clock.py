"""Codes and tokens are right although the machine's clock differs from Steam's."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator

import pytest
from support.steam_env import ACCOUNTS, SteamEnv

from actors.accounts.credentials import expires_at
from actors.steam.port import TransportKind
from bench.env import service_env
from bench.sandbox_process import SandboxProcess

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", params=[90.0, -90.0, 86400.0], ids=str)
def ahead_s(request: pytest.FixtureRequest) -> float:
    """Return by how much Steam's clock is ahead of this machine's."""
    return float(request.param)


@pytest.fixture(scope="module")
def sandbox(ahead_s: float) -> Iterator[SandboxProcess]:
    with SandboxProcess(ACCOUNTS, ("--clock-offset", str(ahead_s))) as running:
        yield running


@pytest.fixture(params=list(TransportKind), ids=str)
async def env(sandbox: SandboxProcess, request: pytest.FixtureRequest) -> AsyncIterator[SteamEnv]:
    async with SteamEnv(sandbox, request.param) as env:
        yield env


async def test_the_first_code_is_right_before_anything_has_logged_on(
    env: SteamEnv, ahead_s: float
) -> None:
    since = await env.sandbox.last_event()
    bot = await env.open(f"totp-{env.transport}")
    auth = await bot.authenticate()
    codes = await env.sandbox.journal("guard_code", since=since)
    assert [one["eresult"] for one in codes] == [1]
    ends = expires_at(auth.refresh_token)
    assert ends is not None
    lifetime_s = 200 * 86400
    assert ends - lifetime_s == pytest.approx(time.time() + ahead_s, abs=10.0)
    await bot.log_on()
    assert env.at_steam.wall() == pytest.approx(time.time() + ahead_s, abs=2.5)


def test_a_whole_service_logs_on_with_a_code_on_such_a_machine(ahead_s: float) -> None:
    account = {"name": "bot0000", "password": "pw", "shared_secret": "b25lIHNlY3JldA=="}
    options = ("--clock-offset", str(ahead_s))
    steps = {"log": {"level": "debug"}}
    with service_env(1, accounts=[account], sandbox_options=options, settings=steps) as w:
        w.service.wait_ready(1)
        assert not list(w.service.events("account_needs_human"))
        tries = [
            one for one in w.service.events("bot_state_changed") if one["state_to"] == "connecting"
        ]
        assert len(tries) == 1
