"""Environment of a chaos round: one Valkey, one simulated Steam, several services."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import redis

from bench.chaos import blockable
from bench.chaos.links import links
from bench.chaos.member import Member, member
from bench.chaos.valkeys import Valkeys, valkeys
from bench.env import (
    seed_accounts,
    service_settings,
    simple_accounts,
)
from bench.sandbox_process import SandboxProcess
from bench.service_process import Sections, ServiceProcess

LEASE_S: Final = 15.0
# Steam closes a silent connection after three heartbeats, which must be less than two thirds of a lease,
# as in production (30 s of 60 s).
HEARTBEAT_S: Final = 1
SERVICE: Final = blockable.__name__
BROKEN: Final = "bench.chaos.broken"
BLOCK_S: Final = LEASE_S + 3  # duration of a blocked event loop: longer than a lease
SECRET_KEY: Final = "BOTAPI_SECRET_KEY"  # noqa: S105 - a variable's name


@dataclass(frozen=True, slots=True)
class RoundConfig:
    """Sizes and quotas of a round; `per_account` and `per_ip` apply to the service and to Steam."""

    members: int = 3
    bots: int = 4  # per member
    accounts: int = 8
    per_account: int = 15
    per_ip: int = 50

    @property
    def settings(self) -> Sections:
        """Settings that differ from `service_settings`."""
        return {
            "bots": {"lease_seconds": LEASE_S, "request_timeout": 2, "max_in_flight": 5},
            "quota": {"per_account": self.per_account, "per_ip": self.per_ip},
            "http": {"deadline": 8, "queue": 64},
            "restart": {"backoff_min": 0.2, "backoff_max": 3, "intensity": 40, "period": 120},
        }


@dataclass(eq=False)
class ChaosEnv:
    """All processes of a round."""

    config: RoundConfig
    valkeys: Valkeys
    sandbox: SandboxProcess
    members: list[Member] = field(default_factory=list)
    lease_s: float = LEASE_S

    @property
    def redis_url(self) -> str:
        """URL of the Valkey itself, without a proxy."""
        return self.valkeys.url

    async def redis_facts(self) -> dict[str, Any]:
        """Return scores, leases (seconds left), cooldowns and counted requests, by account."""
        return await asyncio.to_thread(_facts, self.redis_url)


def _facts(url: str) -> dict[str, Any]:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        seconds, micros = client.time()
        now_ms = seconds * 1000 + micros / 1000
        leases = dict(client.zrange("botapi:leases", 0, -1, withscores=True))
        counted_by_day: Counter[str] = Counter()
        for key in client.scan_iter("botapi:*-api-requests"):
            counted_by_day.update(dict(client.zrange(key, 0, -1, withscores=True)))
        return {
            "scores": dict(client.zrange("botapi:checkouts", 0, -1, withscores=True)),
            "leases": {name: (end - now_ms) / 1000 for name, end in leases.items()},
            "cooldowns": client.hgetall("botapi:cooldown-reasons"),
            "counted": {
                key.removeprefix("botapi:quota:"): client.zcard(key)
                for key in client.scan_iter("botapi:quota:*")
            },
            "counted_by_day": counted_by_day,
        }


@contextlib.asynccontextmanager
async def chaos_env(
    config: RoundConfig, seed: int, module: str = SERVICE
) -> AsyncIterator[ChaosEnv]:
    """Yield the environment of a round; every account has a token, every member runs."""
    accounts = simple_accounts(config.accounts)
    options = ["--heartbeat", str(HEARTBEAT_S), "--seed", str(seed)]
    options += ["--quota-account", str(config.per_account), "--quota-ip", str(config.per_ip)]
    async with contextlib.AsyncExitStack() as stack:
        store = await stack.enter_async_context(valkeys())
        sandbox = stack.enter_context(SandboxProcess(accounts, options))
        made = ChaosEnv(config, store, sandbox)
        seed_accounts(made.redis_url, accounts)
        await asyncio.to_thread(_log_all_accounts_on, made)
        made.members = await asyncio.gather(
            *(_member(stack, made, number, module) for number in range(config.members))
        )
        yield made


def secret_key(name: str) -> str:
    """Return the key of that name, in the form of `openssl rand -base64 32`."""
    return base64.b64encode(name.encode().ljust(32, b"-")[:32]).decode()


async def _member(
    stack: contextlib.AsyncExitStack, made: ChaosEnv, number: int, module: str
) -> Member:
    mine = await stack.enter_async_context(
        links(f"127.0.0.{10 + number}", made.valkeys.port, made.sandbox)
    )
    made.valkeys.proxies.append(mine.redis)
    settings = service_settings(made.config.bots, made.sandbox, mine.redis_url)
    settings["steam"]["directory_url"] = mine.directory_url
    for section, values in made.config.settings.items():
        settings.setdefault(section, {}).update(values)
    env = {SECRET_KEY: secret_key("right"), blockable.SECONDS_VARIABLE: str(BLOCK_S)}
    return await stack.enter_async_context(member(f"m{number}", mine, settings, module, env))


def _log_all_accounts_on(made: ChaosEnv) -> None:
    """Log on with every account, so that Redis has a refresh token for each.

    A later log-on with a password then means that a token was lost.
    """
    settings = service_settings(made.config.accounts, made.sandbox, made.redis_url)
    with ServiceProcess(settings, env={SECRET_KEY: secret_key("right")}) as first:
        first.wait_ready(made.config.accounts)
        first.stop()
