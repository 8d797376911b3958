"""Faults: each is a coroutine that starts the fault, waits and ends it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from bench.chaos.env import BLOCK_S, SECRET_KEY, ChaosEnv, secret_key
from bench.chaos.member import Member
from bench.chaos.proxy import FaultProxy, Mode
from bench.moved_clock import library

HOUR_S: Final = 3600.0

Fault = Callable[[ChaosEnv, Member, random.Random], Awaitable[None]]


# -- processes ---------------------------------------------------------------------------------


async def kill_and_restart(_: ChaosEnv, member: Member, rng: random.Random) -> None:
    """Kill the process with SIGKILL and start it again on the same data."""
    await member.kill()
    await asyncio.sleep(rng.uniform(0, 1))
    await member.start()


async def kill_and_leave(env: ChaosEnv, member: Member, rng: random.Random) -> None:
    """Kill the process with SIGKILL and start it again after its leases have expired."""
    await member.kill()
    await asyncio.sleep(env.lease_s + rng.uniform(1, 4))
    await member.start()


async def stop_and_restart(_: ChaosEnv, member: Member, rng: random.Random) -> None:
    """Stop the process with SIGTERM and start it again, as in a rolling update."""
    await member.stop()
    await asyncio.sleep(rng.uniform(0, 1))
    await member.start()


async def pause(_: ChaosEnv, member: Member, rng: random.Random) -> None:
    """Pause the process (SIGSTOP) for less than a lease."""
    await member.pause(rng.uniform(1, 6))


async def pause_past_lease(env: ChaosEnv, member: Member, rng: random.Random) -> None:
    """Pause the process (SIGSTOP) until other instances may take its accounts."""
    await member.pause(env.lease_s + rng.uniform(1, 5))


async def loop_blocked(_: ChaosEnv, member: Member, __: random.Random) -> None:
    """Block the event loop for longer than a lease; the Steam thread keeps running."""
    await member.block(BLOCK_S)


async def log_unwritable(_: ChaosEnv, member: Member, rng: random.Random) -> None:
    """Stop reading the log for longer than a lease, or close its reader until the next start."""
    if rng.random() < 0.5:
        member.service.stop_reading()
        try:
            await asyncio.sleep(BLOCK_S)
        finally:
            member.service.read_again()
    else:
        member.service.close_reader()
        await asyncio.sleep(rng.uniform(5, 10))
        await stop_and_restart(_, member, rng)


async def wrong_key(env: ChaosEnv, member: Member, _: random.Random) -> None:
    """Start the process with a wrong encryption key, then with the right one.

    With the wrong key it must exit, unless Redis does not answer. If no stored value is encrypted yet,
    any key is valid, and this fault only restarts the process.
    """
    await member.stop()
    async with env.valkeys.steady() as is_sealed:
        if is_sealed:
            key = {SECRET_KEY: secret_key("wrong")}
            await member.refuse_to_start(key, unless="redis_lost")
    await member.start()


# -- links -------------------------------------------------------------------------------------


async def _for_a_while(proxy: FaultProxy, mode: Mode, seconds: float) -> None:
    with proxy.in_mode(mode):
        await asyncio.sleep(seconds)


async def redis_cut(_: ChaosEnv, member: Member, rng: random.Random) -> None:
    """Cut all connections to Redis."""
    member.links.redis.cut(reset=rng.random() < 0.5)


async def redis_refused(_: ChaosEnv, member: Member, rng: random.Random) -> None:
    """Cut all connections to Redis and refuse new ones."""
    member.links.redis.cut()
    await _for_a_while(member.links.redis, Mode.REFUSE, rng.uniform(1, 6))


async def redis_hole(_: ChaosEnv, member: Member, rng: random.Random) -> None:
    """Stop all traffic to Redis for a while."""
    await _for_a_while(member.links.redis, Mode.HOLE, rng.uniform(1, 5))


async def redis_gone_past_lease(env: ChaosEnv, member: Member, rng: random.Random) -> None:
    """Stop all traffic to Redis until the leases have expired; every bot must log off by then."""
    await _for_a_while(member.links.redis, Mode.HOLE, env.lease_s + rng.uniform(0, 4))


async def redis_slow(_: ChaosEnv, member: Member, rng: random.Random) -> None:
    """Delay every answer of Redis."""
    member.links.redis.delay_s = rng.uniform(0.02, 0.3)
    try:
        await asyncio.sleep(rng.uniform(2, 6))
    finally:
        member.links.redis.delay_s = 0.0


async def steam_cut(_: ChaosEnv, member: Member, rng: random.Random) -> None:
    """Cut all connections to Steam."""
    for proxy in member.links.steam:
        proxy.cut(reset=rng.random() < 0.5)


async def steam_half_open(_: ChaosEnv, member: Member, rng: random.Random) -> None:
    """Stop all traffic of one CM's connections, including new ones."""
    await _for_a_while(rng.choice(member.links.steam), Mode.HOLE, rng.uniform(2, 12))


async def steam_refused(_: ChaosEnv, member: Member, rng: random.Random) -> None:
    """Cut one CM's connections and refuse new ones."""
    proxy = rng.choice(member.links.steam)
    proxy.cut()
    await _for_a_while(proxy, Mode.REFUSE, rng.uniform(1, 8))


async def steam_slow(_: ChaosEnv, member: Member, rng: random.Random) -> None:
    """Delay every message of Steam."""
    for proxy in member.links.steam:
        proxy.delay_s = rng.uniform(0.05, 0.6)
    try:
        await asyncio.sleep(rng.uniform(2, 6))
    finally:
        for proxy in member.links.steam:
            proxy.delay_s = 0.0


async def cut_off(_: ChaosEnv, member: Member, rng: random.Random) -> None:
    """Partition the network: no traffic to Redis or Steam."""
    seconds = rng.uniform(2, 12)
    every_link = [member.links.redis, *member.links.steam]
    await asyncio.gather(*(_for_a_while(proxy, Mode.HOLE, seconds) for proxy in every_link))


# -- shared components -------------------------------------------------------------------------


async def valkey_restart(env: ChaosEnv, _: Member, rng: random.Random) -> None:
    """Restart Valkey in an orderly way."""
    await env.valkeys.restart(kill=False, down_s=rng.uniform(0, 3))


async def valkey_kill(env: ChaosEnv, _: Member, rng: random.Random) -> None:
    """Kill Valkey with SIGKILL; acknowledged writes are in its append-only file."""
    await env.valkeys.restart(kill=True, down_s=rng.uniform(0, 3))


async def lost_leases(env: ChaosEnv, _: Member, __: random.Random) -> None:
    """Delete all leases; scores and holders remain."""
    await env.valkeys.drop_leases()


async def old_snapshot(env: ChaosEnv, _: Member, rng: random.Random) -> None:
    """Restore Valkey's data of some seconds ago."""
    await env.valkeys.restore(rng.uniform(3, 12))
    await env.sandbox.quota(reset=True)


async def flush_all(env: ChaosEnv, _: Member, rng: random.Random) -> None:
    """Delete all data of Valkey; the operator adds the accounts again."""
    await env.valkeys.flush(env.sandbox.accounts, rng.uniform(0, 3))
    # Otherwise Steam's quota would silence the rest of the round.
    await env.sandbox.quota(reset=True)


async def readonly_failover(env: ChaosEnv, _: Member, __: random.Random) -> None:
    """Promote the replica; open connections stay with the old primary, which is now a replica."""
    await env.valkeys.fail_over()


async def redis_clock_step(env: ChaosEnv, _: Member, rng: random.Random) -> None:
    """Step the clock of Redis by an hour; the next step reverts it."""
    offset_s = env.valkeys.offset_s
    await env.valkeys.step_clock(-offset_s if offset_s else rng.choice((-HOUR_S, HOUR_S)))


async def steam_drops_some(env: ChaosEnv, _: Member, rng: random.Random) -> None:
    """Drop a random part of all sessions at Steam."""
    mode = rng.choice(("close", "reset", "mid_message"))
    await env.sandbox.drop(mode, fraction=rng.uniform(0.2, 1.0))


async def gc_away(env: ChaosEnv, _: Member, rng: random.Random) -> None:
    """Take the Game Coordinator down for a while."""
    await env.sandbox.faults(gc_down={"value": True, "for_s": rng.uniform(1, 6)})


@dataclass(frozen=True, slots=True)
class FaultKind:
    """A fault, its weight, and whether it occupies the process or affects all members."""

    run: Fault
    weight: float = 1.0
    of_process: bool = False
    of_all: bool = False


KINDS: Final[Mapping[str, FaultKind]] = {
    **{
        fault.__name__: FaultKind(fault, weight, of_process=True)
        for fault, weight in (
            (kill_and_restart, 1.5),
            (kill_and_leave, 0.7),
            (stop_and_restart, 1.0),
            (pause, 1.0),
            (pause_past_lease, 0.7),
            (loop_blocked, 0.5),
            (log_unwritable, 0.5),
            (wrong_key, 0.5),
        )
    },
    **{
        fault.__name__: FaultKind(fault, weight)
        for fault, weight in (
            (redis_cut, 1.5),
            (redis_refused, 1.0),
            (redis_hole, 1.0),
            (redis_gone_past_lease, 0.5),
            (redis_slow, 1.0),
            (steam_cut, 1.5),
            (steam_half_open, 1.0),
            (steam_refused, 1.0),
            (steam_slow, 1.0),
            (cut_off, 0.7),
        )
    },
    **{
        fault.__name__: FaultKind(fault, weight, of_all=True)
        for fault, weight in (
            (valkey_restart, 0.6),
            (valkey_kill, 0.6),
            (lost_leases, 0.5),
            (old_snapshot, 0.5),
            (flush_all, 0.4),
            (readonly_failover, 0.5),
            (redis_clock_step, 0.5),
            (steam_drops_some, 1.0),
            (gc_away, 0.7),
        )
    },
}


def available_kinds(kinds: Mapping[str, FaultKind] = KINDS) -> dict[str, FaultKind]:
    """Return the faults that this machine can inject: stepping a clock needs libfaketime."""
    return {
        name: kind
        for name, kind in kinds.items()
        if name != redis_clock_step.__name__ or library() is not None
    }
