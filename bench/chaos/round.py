"""One chaos round: faults by plan under load, then a time without faults, then the checks."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bench.chaos.checker import (
    CheckResult,
    Observations,
    ProcessEnd,
    Unreachable,
    check_accounts,
    check_round,
)
from bench.chaos.consistency import (
    DOWN,
    QUIET_S,
    ConsistencyResult,
    FaultPeriod,
    SampledRound,
    check_consistency,
    check_refusals,
)
from bench.chaos.env import SERVICE, ChaosEnv, RoundConfig, chaos_env
from bench.chaos.faults import KINDS, FaultKind, available_kinds
from bench.chaos.load import Load
from bench.chaos.member import Member
from bench.chaos.plan import PlannedFault, plan
from bench.chaos.sampler import SamplerProcess, sampler_process

# In turn: more bots than accounts, more accounts than bots, and large budgets.
# The last has waiting bots, so that any account that becomes free is taken.
PLENTY: Final = RoundConfig(members=3, bots=4, accounts=9, per_account=2000, per_ip=5000)
CONFIGS: Final = (
    RoundConfig(members=3, bots=4, accounts=8),
    RoundConfig(members=3, bots=3, accounts=14),
    PLENTY,
)
FAULT_EVERY_S: Final = 1.2
ASK_EVERY_S: Final = 0.4
SETTLE_S: Final = 45.0
LOOK_S: Final = 0.25
QUIET_FOR_S: Final = 6.0  # duration of requests at the end, after `QUIET_S` without faults
# Faults in which a service cannot renew its leases.
NO_REDIS: Final = frozenset(
    {"redis_cut", "redis_refused", "redis_hole", "redis_gone_past_lease", "redis_slow", "cut_off"}
    | {"valkey_restart", "valkey_kill", "old_snapshot", "flush_all", "readonly_failover", DOWN}
)


@dataclass
class RoundResult:
    """Result of one or several rounds."""

    faults: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    checks: CheckResult = field(default_factory=CheckResult)
    consistency: ConsistencyResult = field(default_factory=ConsistencyResult)
    fault_periods: list[FaultPeriod] = field(default_factory=list)
    recovery_s: float = 0.0

    def add(self, other: RoundResult) -> None:
        """Add the result of another round."""
        self.faults += other.faults
        self.answers += other.answers
        self.checks.add(other.checks)
        self.consistency.add(other.consistency)
        self.recovery_s = max(self.recovery_s, other.recovery_s)

    def summary(self) -> str:
        """Return the result in one line."""
        return (
            f"{self.faults.total()} faults, {self.answers.total()} requests "
            f"({self.answers['data']} with data), {self.checks.counts.total()} checks, "
            f"{len(self.checks.violations)} violations, all ready after {self.recovery_s:.1f} s"
        )


@dataclass
class Round:
    """One round of faults. The seed determines everything except the speed of the machine."""

    seed: int
    length_s: float = 70.0
    module: str = SERVICE
    config: RoundConfig | None = None
    fault_every_s: float = FAULT_EVERY_S
    settle_s: float = SETTLE_S
    kinds: Mapping[str, FaultKind] = field(default_factory=available_kinds)
    one_at_a_time: bool = False

    async def run(self) -> RoundResult:
        """Run the round."""
        config = self.config or CONFIGS[self.seed % len(CONFIGS)]
        weights = {name: kind.weight for name, kind in self.kinds.items()}
        planned = plan(
            self.seed,
            weights,
            members=config.members,
            length_s=self.length_s,
            every_s=self.fault_every_s,
            evenly=self.one_at_a_time,
        )
        result = RoundResult()
        async with chaos_env(config, self.seed, self.module) as env:
            since = await env.sandbox.last_event()
            load = Load()
            with sampler_process(**_targets(env)) as sampler:
                async with _running_load(env, load), _updating_targets(sampler, env):
                    await self._inject_all(env, planned, result)
                    result.recovery_s = await _wait_recovered(env, result, self.settle_s)
                    await _run_without_faults(result)
                samples = sampler.samples()
            await self._stop_all(env, result)
            await _check(env, since, result)
            _check_samples(env, samples, load, result)
            result.answers += load.answers
            result.checks.counts["answers"] += load.answers.total()
            result.checks.violations += load.violations
        return result

    async def _inject_all(
        self, env: ChaosEnv, planned: list[PlannedFault], result: RoundResult
    ) -> None:
        """Start every fault at its time; return when the last has ended."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.TaskGroup() as running:
            for one in planned:
                await asyncio.sleep(max(0.0, began + one.at_s - loop.time()))
                running.create_task(_inject(env, one, result))
            await asyncio.sleep(max(0.0, began + self.length_s - loop.time()))

    async def _stop_all(self, env: ChaosEnv, result: RoundResult) -> None:
        """Stop every process and check that every account is free."""
        await asyncio.gather(*(member.stop() for member in env.members))
        result.checks.add(check_accounts(await env.redis_facts(), all_free=True))
        for member in env.members:
            result.checks.violations += member.violations


@contextlib.asynccontextmanager
async def _running_load(env: ChaosEnv, load: Load) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(load.run(one, ASK_EVERY_S)) for one in env.members]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _inject(env: ChaosEnv, one: PlannedFault, result: RoundResult) -> None:
    kind, member = KINDS[one.kind], env.members[one.member]
    rng = random.Random(one.seed)
    if not kind.of_process:
        await _run(env, one.kind, member, rng, result)
        return
    idle = [other for other in env.members if not other.busy.locked()]
    if not idle:
        return  # every process already has a fault
    member = member if member in idle else idle[0]
    async with member.busy:
        await _run(env, one.kind, member, rng, result)


async def _run(
    env: ChaosEnv, name: str, member: Member, rng: random.Random, result: RoundResult
) -> None:
    result.faults[name] += 1
    began = time.time()
    try:
        await KINDS[name].run(env, member, rng)
    finally:
        whose = None if KINDS[name].of_all else member.name
        result.fault_periods.append(FaultPeriod(name, whose, began, time.time()))


async def _run_without_faults(result: RoundResult) -> None:
    """Continue the load until long enough after the last fault."""
    last = max((one.ended for one in result.fault_periods), default=0.0)
    await asyncio.sleep(max(0.0, last + QUIET_S - time.time()) + QUIET_FOR_S)


def _targets(env: ChaosEnv) -> dict[str, Any]:
    return {
        "control_url": env.sandbox.control_url,
        "redis_url": env.redis_url,
        "members": {member.name: member.service.url for member in env.members},
    }


@contextlib.asynccontextmanager
async def _updating_targets(sampler: SamplerProcess, env: ChaosEnv) -> AsyncIterator[None]:
    """Update the sampler's targets, because restarted processes listen on other ports."""

    async def point() -> None:
        reported = _targets(env)
        while True:
            if (now := _targets(env)) != reported:
                sampler.set_targets(**now)
                reported = now
            await asyncio.sleep(LOOK_S)

    task = asyncio.create_task(point())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _wait_recovered(env: ChaosEnv, result: RoundResult, within_s: float) -> float:
    """Wait until the fleet has recovered by itself; return the seconds that it took."""
    loop = asyncio.get_running_loop()
    began, ready, wanted = loop.time(), 0, 1
    states: list[dict[str, Any]] = []
    facts: dict[str, Any] = {"cooldowns": {}}
    while loop.time() - began < within_s:
        facts = await env.redis_facts()
        bots = env.config.members * env.config.bots
        wanted = min(bots, _usable(env.config, facts))
        states = await asyncio.gather(*(one.status() for one in env.members))
        # Counts ready states, because the router skips bots whose address has spent its budget.
        ready = sum(state["bots"].get("ready", 0) for state in states)
        if ready >= wanted:
            break
        await asyncio.sleep(LOOK_S)
    took = loop.time() - began
    result.checks.check(
        "recoveries",
        ready >= wanted,
        f"{ready} of {wanted} bots came back; {_describe_missing_bots(states)}; {facts['cooldowns']}",
    )
    result.checks.add(check_accounts(await env.redis_facts(), all_free=False))
    return took


def _usable(config: RoundConfig, facts: Mapping[str, Any]) -> int:
    """Count the accounts that a bot can use.

    An account with a spent budget does not count. It may lack a cooldown, because a killed process sets
    none.
    """
    return sum(
        account not in facts["cooldowns"]
        and facts["counted"].get(f"account:{account}", 0) < config.per_account
        for account in facts["scores"]
    )


def _describe_missing_bots(states: list[dict[str, Any]]) -> str:
    """Return states and errors of the bots that are not ready."""
    away = [bot for state in states for bot in state["fleet"] if bot["state"] != "ready"]
    return ", ".join(
        f"{bot['bot_id']} {bot['state']} for {time.time() - bot['since']:.0f} s ({bot['last_error']})"
        for bot in away
    )


async def _check(env: ChaosEnv, since: int, result: RoundResult) -> None:
    facts = await env.redis_facts()
    sources = {member.name: member.links.source for member in env.members}
    observations = Observations(
        await env.sandbox.journal(),
        since,
        env.config.per_account,
        env.config.per_ip,
        facts["counted"],
        facts["counted_by_day"],
        env.valkeys.losses,
        [
            Unreachable(sources.get(one.member or ""), one.began, one.ended)
            for one in _all_fault_periods(env, result)
            if one.kind in NO_REDIS
        ],
        env.lease_s / 3,
        [ProcessEnd(member.links.source, at) for member in env.members for at in member.end_times],
    )
    result.checks.add(check_round(observations))


def _all_fault_periods(env: ChaosEnv, result: RoundResult) -> list[FaultPeriod]:
    """Return the periods of faults and of stopped processes."""
    downs = [
        FaultPeriod(DOWN, member.name, since, until)
        for member in env.members
        for since, until in member.down_periods
    ]
    return [*result.fault_periods, *downs]


def _check_samples(
    env: ChaosEnv, samples: list[dict[str, Any]], load: Load, result: RoundResult
) -> None:
    sampled = SampledRound(
        samples,
        _all_fault_periods(env, result),
        {member.name: member.links.source for member in env.members},
        env.config.per_account,
        env.config.per_ip,
        env.lease_s / 3,
    )
    result.consistency = check_consistency(sampled)
    result.checks.add(result.consistency.checks)
    result.checks.add(check_refusals(sampled, load.refusals))
