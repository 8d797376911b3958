"""A wrong password is reported at once everywhere, until another one is stored."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from bench.env import ServiceEnv, service_env, service_settings
from bench.service_process import toml

pytestmark = pytest.mark.integration

TOKEN = "an admin token of some length"
AXE = {"name": "axe", "password": "right"}
HALF_HOUR_S = 1800
WITHIN_S = 30.0


@pytest.fixture
def w(tmp_path: Path) -> Iterator[ServiceEnv]:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    settings = {"http": {"admin_token_file": str(file)}}
    with service_env(1, accounts=[AXE], in_redis=0, settings=settings) as running:
        with redis.Redis.from_url(running.redis_url) as client:
            client.hset("botapi:passwords", "axe", "mistyped")
            client.zadd("botapi:checkouts", {"axe": 0})
        yield running


def by_command(w: ServiceEnv, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(toml(service_settings(1, w.sandbox, w.redis_url)))
    command = [sys.executable, "-m", "supervisor", "accounts", "add", "axe"]
    done = subprocess.run(
        [*command, "--config", str(config)],
        input="right\n",
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def by_admin_api(w: ServiceEnv, tmp_path: Path) -> None:
    del tmp_path
    request = urllib.request.Request(  # noqa: S310 - ours
        f"{w.service.url}/admin/accounts",
        json.dumps(AXE).encode(),
        {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=WITHIN_S) as answer:  # noqa: S310 - ours
        assert answer.status == 201


def by_the_seeds_hset(w: ServiceEnv, tmp_path: Path) -> None:
    del tmp_path
    with redis.Redis.from_url(w.redis_url) as client:
        client.hset("botapi:passwords", "axe", "right")


@pytest.mark.parametrize("store", [by_command, by_admin_api, by_the_seeds_hset])
def test_it_is_said_with_the_time_and_over_with_the_right_one(
    w: ServiceEnv, tmp_path: Path, store: Callable[[ServiceEnv, Path], None]
) -> None:
    assert "the right password" in w.service.wait_log("account_needs_human", WITHIN_S)["need"]
    (alert,) = wait_for(lambda: alerts(w))
    assert "axe needs the right password" in alert["text"]

    def is_told() -> bool:
        status, refusal = asked(w, "/match-details?match_id=7")
        said = refusal["retry_after"]
        return status == 503 and HALF_HOUR_S - WITHIN_S < said <= HALF_HOUR_S

    wait_for(is_told)
    status, unready = asked(w, "/readyz")
    assert (status, unready["error"]) == (503, "notready")
    assert HALF_HOUR_S - WITHIN_S < unready["retry_after"] <= HALF_HOUR_S
    store(w, tmp_path)
    w.service.wait_ready(1, within=WITHIN_S)
    assert alerts(w) == []


def asked(w: ServiceEnv, path: str) -> tuple[int, dict[str, Any]]:
    status, body = w.service.get(path)
    return status, json.loads(body)


def alerts(w: ServiceEnv) -> list[dict[str, Any]]:
    """Return the accounts of `/status` that need an operator."""
    kind = "account-needs-person"
    return [one for one in w.service.status()["alerts"] if one["kind"] == kind]


def wait_for(holds: Callable[[], Any]) -> Any:
    until = time.monotonic() + WITHIN_S
    while not (found := holds()):
        assert time.monotonic() < until
        time.sleep(0.2)
    return found
