"""One round: an arena, faults by plan while clients ask, then quiet, and the verdict."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bench.chaos.agreement import (
    DOWN,
    QUIET_S,
    Agreement,
    Happened,
    Witnessed,
    compare,
    refused_in_vain,
)
from bench.chaos.arena import SERVICE, ChaosEnv, Shape, arena
from bench.chaos.faults import KINDS, Kind, possible
from bench.chaos.judge import Ended, Evidence, Unreachable, Verdict, accounts_in_order, judge
from bench.chaos.load import Load
from bench.chaos.member import Member
from bench.chaos.plan import Planned, plan
from bench.chaos.witness import WitnessProcess, witness_process

# More bots than accounts, more accounts than bots, and budgets that last, in turn.
# In the last there are bots that wait, so that an account which is free for a moment is taken.
PLENTY: Final = Shape(members=3, bots=4, accounts=9, per_account=2000, per_ip=5000)
SHAPES: Final = (
    Shape(members=3, bots=4, accounts=8),
    Shape(members=3, bots=3, accounts=14),
    PLENTY,
)
FAULT_EVERY_S: Final = 1.2
ASK_EVERY_S: Final = 0.4
SETTLE_S: Final = 45.0
LOOK_S: Final = 0.25
QUIET_FOR_S: Final = 6.0  # of requests at the end, `QUIET_S` after the last fault
# Faults in which a service cannot renew its leases.
NO_REDIS: Final = frozenset(
    {"redis_cut", "redis_refused", "redis_hole", "redis_gone_past_lease", "redis_slow", "cut_off"}
    | {"valkey_restart", "valkey_kill", "old_snapshot", "flush_all", "readonly_failover", DOWN}
)


@dataclass
class Outcome:
    """What one round, or several, came to."""

    faults: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    verdict: Verdict = field(default_factory=Verdict)
    agreement: Agreement = field(default_factory=Agreement)
    happened: list[Happened] = field(default_factory=list)
    recovery_s: float = 0.0

    def add(self, other: Outcome) -> None:
        """Take in another round."""
        self.faults += other.faults
        self.answers += other.answers
        self.add_verdict(other.verdict)
        self.agreement.add(other.agreement)
        self.recovery_s = max(self.recovery_s, other.recovery_s)

    def add_verdict(self, verdict: Verdict) -> None:
        """Add the checks and violations of another verdict."""
        self.verdict.checks += verdict.checks
        self.verdict.violations += verdict.violations

    def summary(self) -> str:
        """Say it in a line."""
        return (
            f"{self.faults.total()} faults, {self.answers.total()} requests "
            f"({self.answers['data']} with data), {self.verdict.checks.total()} checks, "
            f"{len(self.verdict.violations)} violations, all ready after {self.recovery_s:.1f} s"
        )


@dataclass
class Round:
    """One round of faults. The seed determines everything except the speed of the machine."""

    seed: int
    length_s: float = 70.0
    module: str = SERVICE
    shape: Shape | None = None
    fault_every_s: float = FAULT_EVERY_S
    settle_s: float = SETTLE_S
    kinds: Mapping[str, Kind] = field(default_factory=possible)
    one_at_a_time: bool = False

    async def run(self) -> Outcome:
        """Run it."""
        shape = self.shape or SHAPES[self.seed % len(SHAPES)]
        weights = {name: kind.weight for name, kind in self.kinds.items()}
        planned = plan(
            self.seed,
            weights,
            members=shape.members,
            length_s=self.length_s,
            every_s=self.fault_every_s,
            evenly=self.one_at_a_time,
        )
        outcome = Outcome()
        async with arena(shape, self.seed, self.module) as stage:
            begun = await stage.sandbox.last_event()
            load = Load()
            with witness_process(**_where(stage)) as witness:
                async with _asking(stage, load), _pointing(witness, stage):
                    await self._do(stage, planned, outcome)
                    outcome.recovery_s = await _settle(stage, outcome, self.settle_s)
                    await _be_quiet(outcome)
                samples = witness.samples()
            await self._end(stage, outcome)
            await _judge(stage, begun, outcome)
            _judge_samples(stage, samples, load, outcome)
            outcome.answers += load.answers
            outcome.verdict.checks["answers"] += load.answers.total()
            outcome.verdict.violations += load.faults
        return outcome

    async def _do(self, stage: ChaosEnv, planned: list[Planned], outcome: Outcome) -> None:
        """Begin every fault at its time; return when the last has ended."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.TaskGroup() as running:
            for one in planned:
                await asyncio.sleep(max(0.0, began + one.at_s - loop.time()))
                running.create_task(_inject(stage, one, outcome))
            await asyncio.sleep(max(0.0, began + self.length_s - loop.time()))

    async def _end(self, stage: ChaosEnv, outcome: Outcome) -> None:
        """Stop every process and check that every account is free."""
        await asyncio.gather(*(member.stop() for member in stage.members))
        outcome.add_verdict(accounts_in_order(await stage.redis_facts(), all_free=True))
        for member in stage.members:
            outcome.verdict.violations += member.unexpected_ends


@contextlib.asynccontextmanager
async def _asking(stage: ChaosEnv, load: Load) -> AsyncIterator[None]:
    asking = [asyncio.create_task(load.run(one, ASK_EVERY_S)) for one in stage.members]
    try:
        yield
    finally:
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)


async def _inject(stage: ChaosEnv, one: Planned, outcome: Outcome) -> None:
    kind, member = KINDS[one.kind], stage.members[one.member]
    rng = random.Random(one.seed)
    if not kind.of_process:
        await _run(stage, one.kind, member, rng, outcome)
        return
    idle = [other for other in stage.members if not other.busy.locked()]
    if not idle:
        return  # every process has its fault already
    member = member if member in idle else idle[0]
    async with member.busy:
        await _run(stage, one.kind, member, rng, outcome)


async def _run(
    stage: ChaosEnv, name: str, member: Member, rng: random.Random, outcome: Outcome
) -> None:
    outcome.faults[name] += 1
    began = time.time()
    try:
        await KINDS[name].run(stage, member, rng)
    finally:
        whose = None if KINDS[name].of_all else member.name
        outcome.happened.append(Happened(name, whose, began, time.time()))


async def _be_quiet(outcome: Outcome) -> None:
    """Let clients ask on until long enough after the last fault."""
    last = max((one.ended for one in outcome.happened), default=0.0)
    await asyncio.sleep(max(0.0, last + QUIET_S - time.time()) + QUIET_FOR_S)


def _where(stage: ChaosEnv) -> dict[str, Any]:
    return {
        "control_url": stage.sandbox.control_url,
        "redis_url": stage.redis_url,
        "members": {member.name: member.service.url for member in stage.members},
    }


@contextlib.asynccontextmanager
async def _pointing(witness: WitnessProcess, stage: ChaosEnv) -> AsyncIterator[None]:
    """Tell the witness where everything is, for processes come back on other ports."""

    async def point() -> None:
        told = _where(stage)
        while True:
            if (now := _where(stage)) != told:
                witness.look_at(**now)
                told = now
            await asyncio.sleep(LOOK_S)

    task = asyncio.create_task(point())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _settle(stage: ChaosEnv, outcome: Outcome, within_s: float) -> float:
    """Wait until the fleet is whole again, without a hand; return how long it took."""
    loop = asyncio.get_running_loop()
    began, ready, wanted = loop.time(), 0, 1
    states: list[dict[str, Any]] = []
    facts: dict[str, Any] = {"cooldowns": {}}
    while loop.time() - began < within_s:
        facts = await stage.redis_facts()
        bots = stage.shape.members * stage.shape.bots
        wanted = min(bots, _usable(stage.shape, facts))
        states = await asyncio.gather(*(one.status() for one in stage.members))
        # Not what the router may use: a bot whose address has spent its budget is well all the same.
        ready = sum(state["bots"].get("ready", 0) for state in states)
        if ready >= wanted:
            break
        await asyncio.sleep(LOOK_S)
    took = loop.time() - began
    outcome.verdict.check(
        "recoveries",
        ready >= wanted,
        f"{ready} of {wanted} bots came back; {_who_is_away(states)}; {facts['cooldowns']}",
    )
    outcome.add_verdict(accounts_in_order(await stage.redis_facts(), all_free=False))
    return took


def _usable(shape: Shape, facts: Mapping[str, Any]) -> int:
    """Count the accounts that a bot can use.

    A process that is killed sets no cooldown for its spent account. So an account whose budget is
    spent does not count, with or without a cooldown.
    """
    return sum(
        account not in facts["cooldowns"]
        and facts["counted"].get(f"account:{account}", 0) < shape.per_account
        for account in facts["scores"]
    )


def _who_is_away(states: list[dict[str, Any]]) -> str:
    """Say what the bots do that are not ready."""
    away = [bot for state in states for bot in state["fleet"] if bot["state"] != "ready"]
    return ", ".join(
        f"{bot['bot_id']} {bot['state']} for {time.time() - bot['since']:.0f} s ({bot['last_error']})"
        for bot in away
    )


async def _judge(stage: ChaosEnv, begun: int, outcome: Outcome) -> None:
    facts = await stage.redis_facts()
    sources = {member.name: member.links.source for member in stage.members}
    evidence = Evidence(
        await stage.sandbox.journal(),
        begun,
        stage.shape.per_account,
        stage.shape.per_ip,
        facts["counted"],
        facts["by_day"],
        stage.valkeys.losses,
        [
            Unreachable(sources.get(one.member or ""), one.began, one.ended)
            for one in _all_that_happened(stage, outcome)
            if one.kind in NO_REDIS
        ],
        stage.lease_s / 3,
        [Ended(member.links.source, at) for member in stage.members for at in member.ends],
    )
    outcome.add_verdict(judge(evidence))


def _all_that_happened(stage: ChaosEnv, outcome: Outcome) -> list[Happened]:
    """Return the faults, and when processes were down."""
    downs = [
        Happened(DOWN, member.name, since, until)
        for member in stage.members
        for since, until in member.downs
    ]
    return [*outcome.happened, *downs]


def _judge_samples(
    stage: ChaosEnv, samples: list[dict[str, Any]], load: Load, outcome: Outcome
) -> None:
    witnessed = Witnessed(
        samples,
        _all_that_happened(stage, outcome),
        {member.name: member.links.source for member in stage.members},
        stage.shape.per_account,
        stage.shape.per_ip,
        stage.lease_s / 3,
    )
    outcome.agreement = compare(witnessed)
    outcome.add_verdict(outcome.agreement.verdict)
    outcome.add_verdict(refused_in_vain(witnessed, load.refusals))
