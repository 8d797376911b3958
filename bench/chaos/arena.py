"""One Valkey, one simulated Steam, several members; all of it up, down and looked at from here."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import redis

from bench.chaos.links import links
from bench.chaos.member import Member, member
from bench.chaos.valkeys import Valkeys, valkeys
from bench.sandbox_process import SandboxProcess
from bench.service_process import Sections, ServiceProcess
from bench.world import (
    add_accounts_as_the_seed_did,
    service_settings,
    simple_accounts,
)

LEASE_S: Final = 15.0
# Steam's patience with a silent connection is three heartbeats: less than two thirds of a lease, as in
# earnest (30 s of 60 s).
HEARTBEAT_S: Final = 1
SERVICE: Final = "bench.chaos.blockable"
BROKEN: Final = "bench.chaos.broken"
BLOCK_S: Final = LEASE_S + 3  # of a loop: longer than a lease
SECRET_KEY: Final = "BOTAPI_SECRET_KEY"  # noqa: S105 - the variable's name


@dataclass(frozen=True, slots=True)
class Shape:
    """How many of what. `per_account`, `per_ip`: the quotas, ours and Steam's."""

    members: int = 3
    bots: int = 4  # of each member
    accounts: int = 8
    per_account: int = 15
    per_ip: int = 50

    @property
    def settings(self) -> Sections:
        """What differs from the usual settings of a test."""
        return {
            "bots": {"lease_seconds": LEASE_S, "request_timeout": 2, "max_in_flight": 5},
            "quota": {"per_account": self.per_account, "per_ip": self.per_ip},
            "http": {"deadline": 8, "queue": 64},
            "restart": {"backoff_min": 0.2, "backoff_max": 3, "intensity": 40, "period": 120},
        }


@dataclass(eq=False)
class ChaosEnv:
    """Everything that runs in one round."""

    shape: Shape
    valkeys: Valkeys
    sandbox: SandboxProcess
    members: list[Member] = field(default_factory=list)
    lease_s: float = LEASE_S

    @property
    def redis_url(self) -> str:
        """The Valkey itself, past all proxies."""
        return self.valkeys.url

    async def redis_facts(self) -> dict[str, Any]:
        """Return scores, leases (seconds left), cooldowns and what was counted, by account."""
        return await asyncio.to_thread(_facts, self.redis_url)


def _facts(url: str) -> dict[str, Any]:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        seconds, micros = client.time()
        now_ms = seconds * 1000 + micros / 1000
        leases = dict(client.zrange("botapi:leases", 0, -1, withscores=True))
        by_day: Counter[str] = Counter()
        for key in client.scan_iter("botapi:*-api-requests"):
            by_day.update(dict(client.zrange(key, 0, -1, withscores=True)))
        return {
            "scores": dict(client.zrange("botapi:checkouts", 0, -1, withscores=True)),
            "leases": {name: (end - now_ms) / 1000 for name, end in leases.items()},
            "cooldowns": client.hgetall("botapi:cooldown-reasons"),
            "counted": {
                key.removeprefix("botapi:quota:"): client.zcard(key)
                for key in client.scan_iter("botapi:quota:*")
            },
            "by_day": by_day,
        }


@contextlib.asynccontextmanager
async def arena(shape: Shape, seed: int, module: str = SERVICE) -> AsyncIterator[ChaosEnv]:
    """Yield a round's arena: every account has a token already, every member runs."""
    accounts = simple_accounts(shape.accounts)
    options = ["--heartbeat", str(HEARTBEAT_S), "--seed", str(seed)]
    options += ["--quota-account", str(shape.per_account), "--quota-ip", str(shape.per_ip)]
    async with contextlib.AsyncExitStack() as stack:
        store = await stack.enter_async_context(valkeys())
        sandbox = stack.enter_context(SandboxProcess(accounts, options))
        made = ChaosEnv(shape, store, sandbox)
        add_accounts_as_the_seed_did(made.redis_url, accounts)
        await asyncio.to_thread(_log_all_accounts_on, made)
        made.members = await asyncio.gather(
            *(_member(stack, made, number, module) for number in range(shape.members))
        )
        yield made


def secret_key(name: str) -> str:
    """Return the key of that name, as `openssl rand -base64 32` writes one."""
    return base64.b64encode(name.encode().ljust(32, b"-")[:32]).decode()


async def _member(
    stack: contextlib.AsyncExitStack, made: ChaosEnv, number: int, module: str
) -> Member:
    mine = await stack.enter_async_context(
        links(f"127.0.0.{10 + number}", made.valkeys.port, made.sandbox)
    )
    made.valkeys.proxies.append(mine.redis)
    settings = service_settings(made.shape.bots, made.sandbox, mine.redis_url)
    settings["steam"]["directory_url"] = mine.directory_url
    for section, values in made.shape.settings.items():
        settings.setdefault(section, {}).update(values)
    env = {SECRET_KEY: secret_key("right"), "CHAOS_BLOCK_S": str(BLOCK_S)}
    return await stack.enter_async_context(member(f"m{number}", mine, settings, module, env))


def _log_all_accounts_on(made: ChaosEnv) -> None:
    """Log on with every account, so that Redis has a refresh token for each.

    A later log-on with a password then means that a token was lost.
    """
    settings = service_settings(made.shape.accounts, made.sandbox, made.redis_url)
    with ServiceProcess(settings, env={SECRET_KEY: secret_key("right")}) as first:
        first.wait_ready(made.shape.accounts)
        first.stop()
