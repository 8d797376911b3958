"""API keys on a running service: made by the command, followed in their file, limited, never logged."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bench.env import ServiceEnv, service_env

pytestmark = pytest.mark.integration

MATCH = "/match-details?match_id=5"
TOKEN = "the token of an operator"
WITHIN_S = 20.0


class KeysEnv:
    """The command beside a running service, and requests to it."""

    def __init__(self, file: Path, w: ServiceEnv) -> None:
        self.file = file
        self.w = w
        self.shown: list[str] = []

    def add(self, name: str, *options: str) -> str:
        """Make a key, wait until it is known, return it."""
        key = botapi(self.file, "add", name, *options)
        self.shown.append(key)
        self.wait_event("api_keys_applied", lambda event: name in event["added"])
        return key

    def wait_event(self, name: str, wanted: Any) -> dict[str, Any]:
        until = time.monotonic() + WITHIN_S
        while time.monotonic() < until:
            for event in self.w.service.events(name):
                if wanted(event):
                    return event
            time.sleep(0.02)
        raise TimeoutError(f"no such {name}: {self.w.service.log[-3000:]}")

    async def get(self, path: str = MATCH, **headers: str) -> tuple[int, str, str | None]:
        """Return status, the error's word if it is one, and Retry-After."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with (
            aiohttp.ClientSession(headers=named) as client,
            client.get(self.w.service.url + path) as answer,
        ):
            word = (await answer.json()).get("error", "")
            if answer.status == 401:
                assert answer.headers["WWW-Authenticate"] == "Bearer"
            return answer.status, word, answer.headers.get("Retry-After")


def botapi(file: Path, *arguments: str, code: int = 0) -> str:
    """Run `botapi keys`; return what it says on stdout, or on stderr when it refuses."""
    env = {**os.environ, "BOTAPI_HTTP__API_KEYS_FILE": str(file)}
    command = [sys.executable, "-m", "supervisor", "keys", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return (done.stderr if code else done.stdout).strip()


@pytest.fixture
def keys_env(tmp_path: Path) -> Iterator[KeysEnv]:
    file, token = tmp_path / "keys", tmp_path / "token"
    file.write_text("# no key yet\n")
    token.write_text(TOKEN)
    token.chmod(0o600)
    http = {"api_keys_file": str(file), "admin_token_file": str(token)}
    with service_env(1, settings={"http": http}) as w:
        yield KeysEnv(file, w)


async def test_keys_come_and_go_while_the_service_runs_and_none_is_logged(
    keys_env: KeysEnv,
) -> None:
    keys_env.wait_event("bot_state_changed", lambda event: event["state_to"] == "ready")
    assert await keys_env.get() == (401, "unauthorized", None)
    assert await keys_env.get("/status") == (401, "unauthorized", None)
    for path in ("/healthz", "/readyz"):
        assert (await keys_env.get(path))[0] == 200

    alice = keys_env.add("alice", "--per-minute", "1", "--burst", "2", "--priority", "3")
    bob = keys_env.add("bob")
    assert (await keys_env.get(X_API_Key=bob))[0] == 200
    assert (await keys_env.get(Authorization=f"Bearer {alice}"))[0] == 200
    assert (await keys_env.get(f"/match/5?key={alice}"))[0] != 401
    status, word, retry_after = await keys_env.get(X_API_Key=alice)
    assert (status, word) == (429, "rate-limited")
    assert 0 < int(retry_after or 0) <= 60
    assert (await keys_env.get("/status", X_API_Key=bob))[0] == 200
    assert (await keys_env.get("/status", Authorization=f"Bearer {TOKEN}"))[0] == 200
    assert await keys_env.get(X_API_Key=bob[:-1]) == (401, "unauthorized", None)
    assert (await keys_env.get(f"{MATCH}&key={bob}"))[0] == 401

    botapi(keys_env.file, "remove", "alice")
    keys_env.wait_event("api_keys_applied", lambda event: event["removed"] == ["alice"])
    assert (await keys_env.get(X_API_Key=alice))[0] == 401

    with keys_env.file.open("a") as file:
        file.write("carol is welcome\n")
    refused = keys_env.wait_event("api_keys_refused", lambda _: True)
    assert "line 3: carol needs" in refused["reason"]
    assert (await keys_env.get(X_API_Key=bob))[0] == 200

    answered = list(keys_env.w.service.events("request_answered"))
    assert {"alice", "bob"} <= {event.get("client") for event in answered}
    for secret in (alice, bob, TOKEN):
        assert secret not in keys_env.w.service.log
        assert secret[:-1] not in keys_env.w.service.log


async def test_a_request_for_many_matches_gets_what_its_keys_rate_allows(keys_env: KeysEnv) -> None:
    keys_env.wait_event("bot_state_changed", lambda event: event["state_to"] == "ready")
    slow = keys_env.add("slow", "--per-minute", "2")
    begun = time.monotonic()
    async with (
        aiohttp.ClientSession(headers={"X-API-Key": slow}) as client,
        client.post(
            f"{keys_env.w.service.url}/match-details", json={"match_ids": list(range(100, 220))}
        ) as answer,
    ):
        lines = [json.loads(line) for line in (await answer.read()).splitlines()]
    assert answer.status == 200
    assert sorted(line["id"] for line in lines) == list(range(100, 220))
    served = [line for line in lines if "error" not in line]
    refused = [line for line in lines if line.get("error") == "rate-limited"]
    # More only where the machine took so long that the rate brought one.
    assert 2 <= len(served) <= 2 + (time.monotonic() - begun) / 30
    assert len(served) + len(refused) == 120
    assert all(0 < line["retry_after"] <= 30 for line in refused)
    assert sum(await spent(keys_env.w)) == len(served), "nothing else was asked for"
    status, word, retry_after = await keys_env.get(X_API_Key=slow)
    assert (status, word) == (429, "rate-limited")
    assert 0 < int(retry_after or 0) <= 30, "no debt is left"


async def spent(w: ServiceEnv) -> list[int]:
    """Return how many requests each account has used."""
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as client,
        client.get(f"{w.service.url}/admin/accounts") as answer,
    ):
        return [row["used"] for row in (await answer.json())["accounts"]]


async def test_wrong_tokens_are_slowed_wherever_they_are_shown(keys_env: KeysEnv) -> None:
    bob = keys_env.add("bob")
    url, page = keys_env.w.service.url, {"X-BotAPI-Page": "1"}
    right = {"Authorization": f"Bearer {TOKEN}"}
    cookies = aiohttp.CookieJar(unsafe=True)  # also those of an IP address
    async with (
        aiohttp.ClientSession(url, cookie_jar=cookies) as signed_in,
        aiohttp.ClientSession(url) as stranger,
    ):
        answer = await signed_in.post("/session", json={"token": TOKEN}, headers=page)
        assert answer.status == 200

        async def guess() -> list[int]:
            """Show wrong tokens until one is refused for being too many; return the statuses."""
            statuses: list[int] = []
            while 429 not in statuses and len(statuses) < 200:
                path = ("/admin/accounts", "/status", MATCH)[len(statuses) % 3]
                shown = {"Authorization": f"Bearer {TOKEN}{len(statuses)}"}
                statuses.append((await stranger.get(path, headers=shown)).status)
            return statuses

        statuses = await guess()
        assert set(statuses[:-1]) == {401}
        assert len(statuses) > 20
        for method, path, headers, body in (
            ("GET", "/admin/accounts", right, None),
            ("GET", "/status", right, None),
            ("POST", "/session", page, {"token": TOKEN}),
        ):
            for _ in range(10):  # where the next second begins just now, the token is compared
                assert (await guess())[-1] == 429
                told = await stranger.request(method, path, headers=headers, json=body)
                if told.status == 429:
                    break
            assert (told.status, (await told.json())["error"]) == (429, "rate-limited")
            assert told.headers["Retry-After"] == "1"
        assert (await keys_env.get(X_API_Key=bob))[0] == 200
        assert (await signed_in.get("/admin/accounts")).status == 200, "a session goes on"


async def test_a_key_in_a_request_that_is_no_http_is_not_logged_either(keys_env: KeysEnv) -> None:
    key = keys_env.add("alice")
    host, port = keys_env.w.service.url.removeprefix("http://").split(":")
    for header in (
        f"X-API-Key: {key}\0",
        f"X-API-Key : {key}",
        f"X-API-Key: {key}{'x' * 9000}",
        key,
    ):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET /match/5?key={key} HTTP/1.1\r\n{header}\r\n\r\n".encode())
        assert (await reader.readline()).split()[1] in {b"400", b"431"}
        writer.close()
    # The service says nothing of its log to one without a key; so it is read until all is there.
    until = time.monotonic() + WITHIN_S
    while (count := len(list(keys_env.w.service.events("request_malformed")))) < 4:
        assert time.monotonic() < until
        await asyncio.sleep(0.02)
    assert count == 4
    assert key not in keys_env.w.service.log
    assert key[:20] not in keys_env.w.service.log


async def test_the_rate_of_addresses_and_the_proxies_follow_the_settings() -> None:
    with service_env(1) as w:
        w.service.wait_ready(1)
        keys_env = KeysEnv(w.service.config_file, w)
        assert [(await keys_env.get())[0] for _ in range(5)] == [200] * 5
        text = w.service.config_file.read_text()
        w.service.config_file.write_text(
            text.replace("[http]", '[http]\nper_minute = 2\ntrusted_proxies = ["127.0.0.0/8"]')
        )
        keys_env.wait_event("config_applied", lambda event: "http.per_minute" in event["changed"])
        for client in ("198.51.100.1", "198.51.100.2"):
            statuses = [(await keys_env.get(X_Forwarded_For=client))[0] for _ in range(3)]
            assert statuses == [200, 200, 429]
        status, word, retry_after = await keys_env.get(X_Forwarded_For="198.51.100.2")
        assert (status, word) == (429, "rate-limited")
        assert 0 < int(retry_after or 0) <= 30
        assert (await keys_env.get("/status", X_Forwarded_For="198.51.100.2"))[0] == 429
        assert (await keys_env.get("/healthz", X_Forwarded_For="198.51.100.2"))[0] == 200


def test_the_command_says_what_it_did_and_what_it_cannot_do(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    assert "botapi keys add" in botapi(file, "list", code=2)
    key = botapi(file, "add", "alice", "--per-minute", "30", "--refresh")
    assert key.startswith("botapi_")
    assert key not in file.read_text()
    file.write_text(file.read_text().rstrip("\n"))  # an editor that ends no line
    botapi(file, "add", "bob", "--priority", "-5")
    assert json.loads(botapi(file, "list", "--json")) == [
        {"name": "alice", "per_minute": 30, "burst": 30, "priority": 0, "refresh": True},
        {"name": "bob", "per_minute": None, "burst": None, "priority": -5, "refresh": False},
    ]
    table = botapi(file, "list").splitlines()
    assert [line.split()[0] for line in table] == ["name", "alice", "bob"]
    assert "remove it first" in botapi(file, "add", "bob", code=1)
    assert "no key called carol" in botapi(file, "remove", "carol", code=3)
    assert "1 to 64" in botapi(file, "add", "a b", code=2)
    assert "--per-minute" in botapi(file, "add", "carol", "--burst", "3", code=2)
    file.chmod(0o640)
    for name in ("alice", "bob"):
        botapi(file, "remove", name)
    assert file.stat().st_mode & 0o777 == 0o640
    assert botapi(file, "list", "--json") == "[]"
