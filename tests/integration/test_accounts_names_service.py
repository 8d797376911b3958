"""A service on accounts whose names are bad, or the same: with real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Final

import pytest
import redis as sync_redis

from bench.env import ServiceEnv, service_env
from bench.service_process import Sections

pytestmark = pytest.mark.integration

TOKEN = "an-admin-token-of-some-length"
MULLER = b"m\xfcller"
SHOWN = "m\\xfcller"
NAMES = (b"BOT0000", b"bot0000 ")
QUICK: Final[Sections] = {
    "restart": {"backoff_min": 0.2, "backoff_max": 1, "intensity": 30, "period": 60}
}


def seeded(w: ServiceEnv, *names: bytes) -> None:
    """Add accounts as clients of the first BotAPI do."""
    with sync_redis.Redis.from_url(w.redis_url) as client:
        wire: Any = client
        for name in names:
            wire.hset("botapi:passwords", name, b"pw-bot0000")
            wire.zadd("botapi:checkouts", {name: 0})


def asked(w: ServiceEnv, path: str) -> tuple[int, bytes]:
    """Ask as an operator; return the first event of an event stream."""
    request = urllib.request.Request(  # noqa: S310 - ours
        w.service.url + path, headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - ours
        if "event-stream" in answer.headers["Content-Type"]:
            while not (line := answer.readline()).startswith(b"data: "):
                assert line
            return answer.status, line.removeprefix(b"data: ")
        return answer.status, answer.read()


def listed(w: ServiceEnv) -> list[dict[str, Any]]:
    """Return the output of `botapi accounts list --json`."""
    command = [sys.executable, "-m", "supervisor", "accounts", "list"]
    done = subprocess.run(
        [*command, "--json", "--config", str(w.service.config_file)],
        capture_output=True,
        check=True,
        timeout=30,
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
    )
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def test_a_name_that_is_not_utf_8_is_named_everywhere_and_stops_nothing(tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    token_file.chmod(0o600)
    settings: Sections = {
        **QUICK,
        "http": {"admin_token_file": str(token_file)},
        "metrics": {"accounts": True},
    }
    with service_env(3, in_redis=2, settings=settings) as w:
        seeded(w, MULLER, b"\x1b[31mred")
        w.service.wait_ready(2)
        assert {bot["account"] for bot in w.service.status()["fleet"]} == {
            *("bot0000", "bot0001", None)
        }
        status, body = asked(w, "/metrics")
        assert status == 200
        assert b'botapi_accounts{state="unusable"} 2' in body
        assert b'botapi_source_up{source="redis"} 1' in body
        for path in ("/admin/accounts", "/events"):
            status, body = asked(w, path)
            assert status == 200
            rows = json.loads(body)["accounts"]
            rows = list(rows.values()) if isinstance(rows, dict) else rows
            row = next(row for row in rows if row["account"] == SHOWN)
            assert row["state"] == "unusable"
            assert "Steam has no such name" in row["problem"]
        assert {row["account"] for row in listed(w)} == {
            *("bot0000", "bot0001", SHOWN, "\\u001b[31mred")
        }
        assert not list(w.service.events("child_crashed"))
        assert w.service.stop() == 0


async def test_three_spellings_of_one_account_are_one_session() -> None:
    """Whichever name it has: each is used once, as the one before it is removed."""
    with service_env(3, in_redis=1, settings=QUICK) as w:
        seeded(w, *NAMES)
        w.service.wait_ready(1)
        for number_left in (2, 1, 0):
            used = in_use(w)
            rows = [row for row in listed(w) if row["account"] != used]
            assert len(rows) == number_left
            for row in rows:
                assert row["state"] == "unusable"
                assert row["problem"] == f"the same Steam account as {used}, which is in use"
            assert w.service.get("/match-details?match_id=5")[0] == 200
            if number_left:
                w.service.stop()
                remove(w, used)
                w.service.start()
                w.service.wait_ready(1)
        assert (await w.sandbox.summary())["max_concurrent"] == {"bot0000": 1}
        assert w.service.stop() == 0


def in_use(w: ServiceEnv) -> str | None:
    """Return the one account that a ready bot has, if any."""
    used = {bot["account"] for bot in w.service.status()["fleet"] if bot["state"] == "ready"}
    assert len(used) <= 1
    return used.pop() if used else None


def remove(w: ServiceEnv, account: str | None) -> None:
    assert account is not None
    command = [sys.executable, "-m", "supervisor", "accounts", "remove", account]
    subprocess.run(
        [*command, "--config", str(w.service.config_file)],
        check=True,
        timeout=30,
        capture_output=True,
    )
