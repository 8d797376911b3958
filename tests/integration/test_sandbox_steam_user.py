"""A stock client, node-steam-user from npm, logs on to the simulated Steam and queries its GC."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.sandbox_process import SandboxProcess
from sandbox.protocol import totp

HERE = Path(__file__).resolve().parent.parent / "steam_user"
NODE = shutil.which("node")
IS_INSTALLED = NODE is not None and (HERE / "node_modules").is_dir()

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        not IS_INSTALLED,
        reason="needs node 18 or newer, and: npm ci --ignore-scripts --prefix tests/steam_user",
    ),
]

SECRET = base64.b64encode(b"twenty bytes of it!!").decode()
ACCOUNTS: list[dict[str, Any]] = [
    {"name": "plain", "password": "mist-coil-1"},
    {"name": "mail", "password": "letter-3", "email_code": "R2D2X"},
    {"name": "totp", "password": "clock-4", "shared_secret": SECRET},
    {"name": "disabled", "password": "gone-5", "disabled": True},
]
WITHIN_S = 30.0
MATCH = 7490235544
DETAILS_REQUEST, DETAILS_RESPONSE, WELCOME = 7095, 7096, 4004


class Client:
    """The client's process; see driver.js."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.token = ""

    def tell(self, **command: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")

    async def wait(self, *events: str) -> dict[str, Any]:
        """Return the next of these events; an unexpected error fails the test."""
        assert self._process.stdout is not None
        async with asyncio.timeout(WITHIN_S):
            while line := await self._process.stdout.readline():
                event: dict[str, Any] = json.loads(line)
                if event["event"] == "token":
                    self.token = event["token"]
                if event["event"] in events:
                    return event
                assert event["event"] != "error", event
        raise AssertionError(f"the client ended before {events}")

    async def log_on(self, **options: Any) -> dict[str, Any]:
        self.tell(log_on=options)
        return await self.wait("logged_on")


@pytest.fixture(scope="module")
def module_sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess(ACCOUNTS) as running:
        yield running


@pytest.fixture
async def sandbox(module_sandbox: SandboxProcess) -> SandboxProcess:
    await module_sandbox.clear_faults()
    return module_sandbox


@contextlib.asynccontextmanager
async def started(sandbox: SandboxProcess, protocol: str = "WebSocket") -> AsyncIterator[Client]:
    assert NODE is not None
    process = await asyncio.create_subprocess_exec(
        NODE,
        "driver.js",
        sandbox.directory_url,
        protocol,
        cwd=HERE,
        env={**os.environ, "NODE_EXTRA_CA_CERTS": str(sandbox.ca_file)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,  # bytes of a line: a welcome in hex
    )
    client = Client(process)
    try:
        await client.wait("ready")
        yield client
    finally:
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(WITHIN_S):
            await process.wait()


async def token_of(sandbox: SandboxProcess) -> str:
    async with started(sandbox) as client:
        await client.log_on(accountName="plain", password="mist-coil-1")
        return client.token


async def test_a_password_gives_a_token_that_logs_on(sandbox: SandboxProcess) -> None:
    token = await token_of(sandbox)
    assert token.count(".") == 2
    since = await sandbox.last_event()
    async with started(sandbox) as client:
        logged_on = await client.log_on(refreshToken=token)
        assert logged_on["steam_id"].startswith("7656119")
        assert logged_on["public_ip"]
        client.tell(log_off=True)
        await sandbox.wait_journal("session_ended", since=since, account="plain")
    assert not await sandbox.journal("credentials_begun", since=since)
    assert not await sandbox.journal("client_hello,protocol_violation", since=since)


async def test_a_match_is_asked_for_and_answered(sandbox: SandboxProcess) -> None:
    async with started(sandbox) as client:
        await client.log_on(accountName="plain", password="mist-coil-1")
        client.tell(play=570)
        while (await client.wait("playing"))["app"] != 570:
            pass
        client.tell(hello=True)
        while (await client.wait("gc"))["type"] != WELCOME:
            pass
        body = b"\x08" + _varint(MATCH)
        client.tell(gc=[DETAILS_REQUEST, body.hex()])
        answer = await client.wait("answer")
    assert answer["type"] == DETAILS_RESPONSE
    assert _varint(MATCH) in bytes.fromhex(answer["body"])


async def test_an_email_code_is_asked_for_again_after_a_wrong_one(sandbox: SandboxProcess) -> None:
    async with started(sandbox) as client:
        client.tell(log_on={"accountName": "mail", "password": "letter-3"})
        assert (await client.wait("guard"))["domain"] == "example.com"
        client.tell(code="WRONG")
        assert (await client.wait("guard"))["domain"] == "example.com"
        # Each Begin mails another code.
        client.tell(code=(await sandbox.mailbox("mail"))[-1]["code"])
        await client.wait("logged_on")


async def test_a_code_of_the_authenticator_logs_on(sandbox: SandboxProcess) -> None:
    async with started(sandbox) as client:
        client.tell(log_on={"accountName": "totp", "password": "clock-4"})
        assert (await client.wait("guard"))["domain"] is None
        step = int(time.time()) // totp.STEP_S
        client.tell(code=totp.code(base64.b64decode(SECRET), step))
        await client.wait("logged_on")


@pytest.mark.parametrize(
    ("account", "password", "eresult"), [("plain", "wrong", 5), ("disabled", "gone-5", 43)]
)
async def test_a_refused_begin_has_its_result(
    sandbox: SandboxProcess, account: str, password: str, eresult: int
) -> None:
    async with started(sandbox) as client:
        client.tell(log_on={"accountName": account, "password": password})
        assert (await client.wait("error"))["eresult"] == eresult


async def test_a_refused_token_has_its_result(sandbox: SandboxProcess) -> None:
    """The client sends no Hello before it and reads the refusal as protobuf."""
    token = await token_of(sandbox)
    await sandbox.revoke("plain")
    async with started(sandbox) as client:
        client.tell(log_on={"refreshToken": token})
        assert (await client.wait("error"))["eresult"] == 15


def _varint(number: int) -> bytes:
    found = b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])
