"""From the directory to a match over both transports, with the real process."""

from __future__ import annotations

import pytest
from support.sandbox_client import logged_on
from support.sandbox_connection import Connecting

from bench.sandbox_process import SandboxProcess

pytestmark = pytest.mark.integration

TRANSPORTS = ("websockets", "netfilter")


@pytest.fixture(scope="module")
def sandbox() -> object:
    with SandboxProcess() as running:
        yield running


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_password_token_welcome_and_match_work(
    sandbox: SandboxProcess, transport: str
) -> None:
    async with Connecting(sandbox, transport) as client:
        await logged_on(client, sandbox.accounts[0])
        await client.launch()
        answer = await client.match(7490235544)
    assert answer.result == 1
    assert answer.match.cluster == 153
    assert answer.match.replay_salt == 447089001
