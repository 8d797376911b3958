"""Renewing refresh tokens against the sandbox, which issues them in a token's last 30 days."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from support.steam_env import SteamEnv

from actors.errors import LogOnRefused
from actors.steam.port import AuthState, TransportKind
from bench.sandbox_process import SandboxProcess

pytestmark = pytest.mark.integration

DAY_S = 86400
ACCOUNTS: list[dict[str, Any]] = [
    {"name": "ending", "password": "pw", "token_lifetime_s": 20 * DAY_S},
    {"name": "fresh", "password": "pw"},
]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess(ACCOUNTS) as running:
        yield running


@pytest.fixture(params=list(TransportKind), ids=str)
async def env(sandbox: SandboxProcess, request: pytest.FixtureRequest) -> AsyncIterator[SteamEnv]:
    async with SteamEnv(sandbox, request.param) as env:
        yield env


async def test_a_token_near_its_end_is_replaced_and_dead_at_once(env: SteamEnv) -> None:
    bot = await env.logged_on("ending")
    old = bot.auth
    assert old is not None
    newer = await bot.link.renew_token(old, timeout_s=5)
    assert newer is not None
    assert newer.refresh_token != old.refresh_token
    await bot.link.log_off(timeout_s=4)
    await (await env.open("ending")).log_on(newer)
    with pytest.raises(LogOnRefused) as refused:
        await (await env.open("ending")).log_on(old)
    assert refused.value.eresult == 15


async def test_a_token_far_from_its_end_stays(env: SteamEnv) -> None:
    bot = await env.logged_on("fresh")
    assert bot.auth is not None
    assert await bot.link.renew_token(bot.auth, timeout_s=5) is None


async def test_a_token_that_is_none_is_refused_and_the_session_goes_on(env: SteamEnv) -> None:
    bot = await env.logged_on("fresh")
    assert bot.auth is not None
    with pytest.raises(LogOnRefused):
        await bot.link.renew_token(AuthState(bot.auth.steam_id, "none", None), timeout_s=5)
    assert await bot.link.renew_token(bot.auth, timeout_s=5) is None
