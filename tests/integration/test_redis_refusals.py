"""A Redis that answers and refuses: reported as such, never as unreachable."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import redis as sync_redis
from support.command import botapi

from bench.env import ServiceEnv, service_env
from bench.service_process import Sections, toml

pytestmark = pytest.mark.integration

SETTINGS: Final[Sections] = {
    "restart": {"backoff_min": 0.2, "backoff_max": 1, "intensity": 30, "period": 60}
}
PATIENCE_S: Final = 30.0


@pytest.fixture(scope="module")
def w() -> Iterator[ServiceEnv]:
    with service_env(2, settings=SETTINGS) as running:
        running.service.wait_ready(2)
        yield running


@pytest.fixture
def client(w: ServiceEnv) -> Iterator[Any]:
    """Return a client that is connected before a password is needed."""
    with sync_redis.Redis.from_url(w.redis_url, single_connection_client=True) as opened:
        opened.ping()
        yield opened


def need_a_password(client: Any) -> None:
    client.config_set("requirepass", "hunter2")
    client.client_kill_filter(_type="normal", skipme=True)


FAULTS: Final[dict[str, tuple[Callable[[Any], object], Callable[[Any], object], str]]] = {
    "password": (
        need_a_password,
        lambda client: client.config_set("requirepass", ""),
        "password",
    ),
    "access rules": (
        lambda client: client.execute_command("ACL SETUSER", "default", "-eval", "-evalsha"),
        lambda client: client.execute_command("ACL SETUSER", "default", "+@all"),
        "access rules (ACL)",
    ),
    "memory": (
        lambda client: client.config_set("maxmemory", "1"),
        lambda client: client.config_set("maxmemory", "0"),
        "memory is full",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_refusal_is_named_to_clients_on_the_page_and_by_the_command(
    w: ServiceEnv, client: Any, tmp_path: Path, fault: str
) -> None:
    begin, end, named = FAULTS[fault]
    match_id = 7_000_000_000 + 1000 * list(FAULTS).index(fault)
    begin(client)
    try:
        answer = until(lambda: refused(w, match_id))
        assert answer["error"] == "store-unavailable"
        assert "Redis refuses: " in answer["message"]
        assert named in answer["message"]
        assert "unreachable" not in answer["message"]
        alert = until(lambda: alert_about(w, named))
        assert "Redis refuses" in alert["text"]
        assert alert["kind"] == "redis-refuses"
        (tmp_path / "config.toml").write_text(toml({"redis": {"url": w.redis_url}}))
        if fault != "access rules":  # to list accounts needs no script
            words = ("add", "new") if fault == "memory" else ("list",)
            done = botapi("accounts", *words, cwd=tmp_path, typed="pw\n")
            assert done.code == 1
            assert done.err.startswith("botapi: Redis refuses: ")
            assert named in done.err
    finally:
        end(client)
    until(lambda: w.service.get(f"/match-details?match_id={match_id + 999}")[0] == 200)


def until(found: Callable[[], Any]) -> Any:
    give_up = time.monotonic() + PATIENCE_S
    while not (value := found()):
        assert time.monotonic() < give_up
        time.sleep(0.1)
    return value


def refused(w: ServiceEnv, match_id: int) -> dict[str, Any] | None:
    status, body = w.service.get(f"/match-details?match_id={match_id}")
    answer: dict[str, Any] = json.loads(body)
    return answer if status == 503 and answer["error"] == "store-unavailable" else None


def alert_about(w: ServiceEnv, named: str) -> dict[str, Any] | None:
    alerts = json.loads(w.service.get("/status")[1])["alerts"]
    return next((one for one in alerts if named in one["text"]), None)
